#include "driver/qemu_command.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include "netstack/base/error.h"

namespace driver {

// Theory. The command belongs to the user: it may be QEMU, or a script that hands its arguments to
// QEMU. It is kept word for word and in order; the card goes to the end, where it takes the last
// PCI slot and moves nobody else's. QEMU adds a card of its own only to a command without network
// options, so adding ours also keeps that one away; cards the user asked for stay.

using netstack::Error;

namespace {

struct PackageRow {
  std::string_view program;  // the name begins with this
  std::string_view package;  // Debian's
};

constexpr std::array kPackages = {
    PackageRow{"qemu-system-x86_64", "qemu-system-x86"},
    PackageRow{"qemu-system-i386", "qemu-system-x86"},
    PackageRow{"qemu-kvm", "qemu-system-x86"},
    PackageRow{"qemu-system-a", "qemu-system-arm"},  // aarch64, arm
    PackageRow{"qemu-system-mips", "qemu-system-mips"},
    PackageRow{"qemu-system-ppc", "qemu-system-ppc"},
    PackageRow{"qemu-system-sparc", "qemu-system-sparc"},
    PackageRow{"qemu-system-", "qemu-system-misc"},
};

std::string how_to_get(std::string_view program) {
  for (const PackageRow& row : kPackages) {
    if (program.starts_with(row.program)) {
      return fmt::format("install it: apt-get install {}", row.package);
    }
  }
  return "check its spelling, or give its path";
}

// 0, or why it cannot be executed.
int executable_error(const std::string& path) {
  struct stat what {};
  if (::stat(path.c_str(), &what) != 0) return errno;
  if (S_ISDIR(what.st_mode)) return EISDIR;
  return ::access(path.c_str(), X_OK) == 0 ? 0 : errno;
}

std::string find_by_path(const std::string& path) {
  const int error = executable_error(path);
  if (error == 0) return path;
  const bool missing = error == ENOENT || error == ENOTDIR;
  const char* remedy = "give the path of a program";
  if (missing) remedy = "check the path";
  if (error == EACCES) remedy = "make it executable with chmod +x";
  throw netstack::host_error(error, "start " + path, remedy,
                             missing ? kExitProgramMissing : kExitProgramUnusable);
}

// QEMU takes options with one dash or two.
bool is_option(std::string_view word, std::initializer_list<std::string_view> names) {
  if (!word.starts_with('-')) return false;
  word.remove_prefix(word.starts_with("--") ? 2 : 1);
  return std::find(names.begin(), names.end(), word) != names.end();
}

// "microvm" for "-M microvm,rtc=on" and "-machine accel=tcg,type=microvm"; the last one counts.
std::string_view machine_type(const std::vector<std::string>& argv) {
  std::string_view type;
  for (size_t i = 1; i + 1 < argv.size(); ++i) {
    if (!is_option(argv[i], {"M", "machine"})) continue;
    std::string_view rest = argv[i + 1];
    for (bool first = true; !rest.empty(); first = false) {
      const std::string_view item = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), item.size() + 1));
      if (item.starts_with("type=")) type = item.substr(5);
      if (first && item.find('=') == item.npos) type = item;
    }
  }
  return type;
}

// microvm has no PCI bus, s390x plugs devices into its channel subsystem.
std::string_view card_model(const std::vector<std::string>& argv) {
  if (machine_type(argv).starts_with("microvm")) return "virtio-net-device";
  if (argv[0].ends_with("qemu-system-s390x")) return "virtio-net-ccw";
  return "virtio-net-pci";
}

// An id that stands nowhere in the command, whatever its syntax there.
std::string unused_id(const std::vector<std::string>& argv) {
  for (unsigned n = 0;; ++n) {
    std::string id = fmt::format("lanyard{}", n);
    const auto holds_id = [&](const std::string& word) { return word.find(id) != word.npos; };
    if (std::none_of(argv.begin(), argv.end(), holds_id)) return id;
  }
}

std::string random_mac() {
  std::array<uint8_t, 3> low{};
  if (::getrandom(low.data(), low.size(), 0) != static_cast<ssize_t>(low.size())) {
    throw netstack::host_error(errno, "get random bytes for a MAC address", "give one with --mac");
  }
  return fmt::format("52:54:00:{:02x}:{:02x}:{:02x}", low[0], low[1], low[2]);  // QEMU's own prefix
}

const std::string& checked_mac(const std::string& mac) {
  std::array<unsigned, 6> octets{};
  int used = -1;
  const int count = std::sscanf(mac.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x%n", &octets[0], &octets[1],
                                &octets[2], &octets[3], &octets[4], &octets[5], &used);
  constexpr size_t kMacTextBytes = 17;
  const bool whole = count == 6 && used == static_cast<int>(mac.size()) &&
                     mac.size() == kMacTextBytes &&
                     mac.find_first_not_of("0123456789abcdefABCDEF:") == mac.npos;
  const bool zero = std::all_of(octets.begin(), octets.end(), [](unsigned o) { return o == 0; });
  if (!whole || zero || (octets[0] & 1U) != 0) {
    throw Error(EX_USAGE, fmt::format("cannot use {} as the guest's MAC address: six hex bytes of "
                                      "a single station are needed; for example 52:54:00:12:34:56",
                                      mac));
  }
  return mac;
}

void check_command(const std::vector<std::string>& argv) {
  if (argv.empty() || argv[0].empty()) {
    throw Error(EX_USAGE,
                "cannot start a guest: there is no command after --; give QEMU's, for example: "
                "lanyard run -- qemu-system-x86_64 -nographic disk.img");
  }
  for (const std::string& word : argv) {
    if (is_option(word, {"daemonize"})) {
      throw Error(EX_USAGE,
                  "cannot start a guest with -daemonize: its network ends when lanyard loses sight "
                  "of it; remove -daemonize and put lanyard itself in the background");
    }
  }
}

}  // namespace

std::string find_program(const std::string& name, const std::string& search_path) {
  if (name.find('/') != name.npos) return find_by_path(name);
  std::optional<std::string> refused;
  std::string_view rest = search_path;
  for (bool more = true; more;) {
    const size_t colon = rest.find(':');
    const std::string_view directory = rest.substr(0, colon);
    const std::string path = fmt::format("{}/{}", directory.empty() ? "." : directory, name);
    const int error = executable_error(path);
    if (error == 0) return path;
    if (error == EACCES && !refused) refused = path;
    more = colon != rest.npos;
    if (more) rest.remove_prefix(colon + 1);
  }
  if (refused) return find_by_path(*refused);
  throw Error(kExitProgramMissing,
              fmt::format("cannot start {}: not found in PATH; {}", name, how_to_get(name)));
}

GuestCommand add_network_card(std::vector<std::string> argv, Attachment attachment,
                              const std::string& mac) {
  check_command(argv);
  GuestCommand command;
  const char* search_path = std::getenv("PATH");
  command.program = find_program(argv[0], search_path != nullptr ? search_path : "/usr/bin:/bin");
  const std::string id = unused_id(argv);
  const std::string device = fmt::format("{},netdev={},mac={}", card_model(argv), id,
                                         mac.empty() ? random_mac() : checked_mac(mac));
  for (const std::string& word :
       {std::string("-netdev"), fmt::format("{},id={}", attachment.netdev, id),
        std::string("-device"), device}) {
    argv.push_back(word);
  }
  command.argv = std::move(argv);
  command.inherited = std::move(attachment.inherited);
  return command;
}

}  // namespace driver
