// A socket's owner has no direct way to be asked. /proc/net/tcp and its like give, for a local
// address, the socket's inode and the user it belongs to; the descriptors in /proc/PID/fd are links
// "socket:[INODE]", and those of other users cannot be read. A socket that is bound and does not
// listen (another Lanyard that waits for its guest) is in none of these tables.
#include "netstack/forwards/port_holder.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

namespace netstack {

namespace {

namespace fs = std::filesystem;

struct Found {
  std::string inode;
  std::string uid;  // empty: the table does not tell
};

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(std::move(word));
  return words;
}

// "0100007F:1F90" or 32 digits and a port: 32-bit words in this machine's order.
std::optional<IpAddress> read_address(std::string_view hex) {
  IpAddress address;
  address.v6 = hex.size() == 32;
  if (!address.v6 && hex.size() != 8) return std::nullopt;
  for (size_t word = 0; word < hex.size() / 8; ++word) {
    uint32_t bits = 0;
    const char* begin = hex.data() + word * 8;
    if (std::from_chars(begin, begin + 8, bits, 16).ec != std::errc{}) return std::nullopt;
    std::memcpy(&address.octets[word * 4], &bits, sizeof bits);
  }
  return address;
}

bool is_unspecified(const IpAddress& address) {
  return address.octets == IpAddress{}.octets;
}

// Whether a socket at `held` keeps another from `wanted`, the ports being equal. A socket at [::]
// may have IPv4 as well.
bool collides(const IpAddress& held, const IpAddress& wanted) {
  if (held.v6 == wanted.v6) {
    return held == wanted || is_unspecified(held) || is_unspecified(wanted);
  }
  return held.v6 && is_unspecified(held);
}

std::optional<Found> find_in(const char* table, const HostForward& forward) {
  constexpr std::string_view kListening = "0A";
  std::ifstream file(table);
  std::string line;
  std::getline(file, line);  // the heading
  while (std::getline(file, line)) {
    const auto words = words_of(line);
    if (words.size() < 10) continue;
    const size_t colon = words[1].find(':');
    if (colon == std::string::npos) continue;
    const auto address = read_address(std::string_view(words[1]).substr(0, colon));
    unsigned port = 0;
    std::from_chars(words[1].data() + colon + 1, words[1].data() + words[1].size(), port, 16);
    if (!address || port != forward.host_port) continue;
    if (forward.protocol == Protocol::kTcp && words[3] != kListening) continue;
    if (collides(*address, forward.host_address)) return Found{words[9], words[7]};
  }
  return std::nullopt;
}

std::optional<Found> find_path(const std::string& path) {
  std::ifstream file("/proc/net/unix");
  for (std::string line; std::getline(file, line);) {
    const auto words = words_of(line);
    if (words.size() >= 8 && line.ends_with(' ' + path)) return Found{words[6], ""};
  }
  return std::nullopt;
}

std::optional<Found> find_socket(const HostForward& forward) {
  if (forward.is_unix()) return find_path(forward.path);
  const bool udp = forward.protocol == Protocol::kUdp;
  auto found = find_in(udp ? "/proc/net/udp" : "/proc/net/tcp", forward);
  return found ? found : find_in(udp ? "/proc/net/udp6" : "/proc/net/tcp6", forward);
}

bool has_socket(const fs::path& process, const std::string& link) {
  std::error_code error;
  for (fs::directory_iterator at(process / "fd", error), end; !error && at != end;
       at.increment(error)) {
    std::error_code unreadable;
    if (fs::read_symlink(at->path(), unreadable).native() == link) return true;
  }
  return false;
}

// "nginx (pid 123)"; empty: none that we may look into.
std::string owner_of(const std::string& inode) {
  const std::string link = fmt::format("socket:[{}]", inode);
  std::error_code error;
  for (fs::directory_iterator at("/proc", error), end; !error && at != end; at.increment(error)) {
    const std::string pid = at->path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    if (!has_socket(at->path(), link)) continue;
    std::ifstream file(at->path() / "comm");
    std::string name;
    std::getline(file, name);
    return fmt::format("{} (pid {})", name.empty() ? "a process" : name, pid);
  }
  return {};
}

}  // namespace

bool unix_path_in_use(const std::string& path) {
  return find_path(path).has_value();
}

std::string describe_holder(const HostForward& forward) {
  const auto found = find_socket(forward);
  const std::string_view verb = forward.protocol == Protocol::kUdp ? "has it" : "listens there";
  if (!found) return "it is held by a socket that does not listen, or not any more";
  if (const std::string owner = owner_of(found->inode); !owner.empty()) {
    return fmt::format("{} {}", owner, verb);
  }
  if (found->uid.empty()) return fmt::format("another user's process {}", verb);
  return fmt::format("a process of user {} {}, which cannot be looked into from here", found->uid,
                     verb);
}

}  // namespace netstack
