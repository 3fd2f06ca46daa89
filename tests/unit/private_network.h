#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "netstack/base/error.h"
#include "netstack/base/fd.h"

namespace tests {

inline void write_file(const char* path, const std::string& text) {
  const netstack::Fd file(::open(path, O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), text.data(), text.size()) < 0) {
    throw netstack::host_error(errno, fmt::format("write {}", path), "");
  }
}

// Moves this process into a network namespace of its own with nothing but "lo" (up), as a build
// sandbox has it: nothing a test sends can leave. Needs root or user namespaces; throws otherwise.
inline void enter_private_network() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  const int flags = uid == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET;
  if (::unshare(flags) != 0) {
    throw netstack::host_error(errno, "make a network namespace",
                               "run as root or allow user namespaces");
  }
  if (uid != 0) {
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", fmt::format("0 {} 1", uid));
    write_file("/proc/self/gid_map", fmt::format("0 {} 1", gid));
  }
  const netstack::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) {
    throw netstack::host_error(errno, "bring up lo", "");
  }
}

// Who may open ping sockets in this namespace: "0 0" root's group. In a new one nobody may.
inline void set_ping_group_range(const std::string& range) {
  write_file("/proc/sys/net/ipv4/ping_group_range", range);
}

}  // namespace tests
