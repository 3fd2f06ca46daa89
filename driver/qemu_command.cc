#include "driver/qemu_command.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "netstack/base/error.h"

namespace driver {

using netstack::Error;

namespace {

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

}  // namespace

void check_guest_command(const std::vector<std::string>& argv) {
  if (argv.empty() || argv[0].empty()) {
    throw Error(EX_USAGE,
                "cannot start a guest: there is no command after --; give QEMU's, for example: "
                "lanyard run -- qemu-system-x86_64 -nographic disk.img");
  }
  for (const std::string& word : argv) {
    if (word == "-daemonize" || word == "--daemonize") {
      throw Error(EX_USAGE,
                  "cannot start a guest with -daemonize: its network ends when lanyard loses sight "
                  "of it; remove -daemonize and put lanyard itself in the background");
    }
  }
}

std::string card_mac(const std::string& wanted) {
  return wanted.empty() ? random_mac() : checked_mac(wanted);
}

}  // namespace driver
