#include "netstack/reachability/path_error.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

namespace netstack {

std::optional<PathError> read_path_error(const sock_extended_err& error, bool v6) {
  if (error.ee_origin != SO_EE_ORIGIN_ICMP && error.ee_origin != SO_EE_ORIGIN_ICMP6) {
    return std::nullopt;
  }
  sockaddr_storage offender{};
  std::memcpy(&offender, SO_EE_OFFENDER(&error), v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in));
  return PathError{{error.ee_type, error.ee_code, error.ee_info},
                   from_sockaddr(offender),
                   static_cast<int>(error.ee_errno)};
}

std::optional<PathError> take_path_error(int fd, bool v6) {
  alignas(cmsghdr) std::array<char, 512> control{};
  std::array<uint8_t, 128> quoted{};
  iovec part{quoted.data(), quoted.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return std::nullopt;
  for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
    const bool is_error = (at->cmsg_level == SOL_IP && at->cmsg_type == IP_RECVERR) ||
                          (at->cmsg_level == SOL_IPV6 && at->cmsg_type == IPV6_RECVERR);
    if (is_error) return read_path_error(*reinterpret_cast<sock_extended_err*>(CMSG_DATA(at)), v6);
  }
  return std::nullopt;
}

}  // namespace netstack
