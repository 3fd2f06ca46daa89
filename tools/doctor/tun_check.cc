#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>

#include <cerrno>

#include "netstack/base/error.h"
#include "netstack/base/fd.h"
#include "tools/doctor/host_checks.h"
#include "tools/doctor/process_status.h"

namespace tools {

Finding check_tun() {
  const char* id = "tun";
  const char* title = "/dev/net/tun";
  const netstack::Fd tun(::open(title, O_RDWR | O_CLOEXEC));
  const int error = tun ? 0 : errno;
  if (error == 0) {
    return {id, title,
            has_capability(CAP_NET_ADMIN)
                ? "opens, and this process may make taps"
                : "opens; making a tap also takes CAP_NET_ADMIN, which this process has not"};
  }
  const char* first = error == EACCES || error == EPERM
                          ? "give this user the device"
                          : "load the module tun, or give a container the device";
  return warning(
      id, title,
      fmt::format("it does not open ({}): no taps, so neither `lanyard plug --tap` nor "
                  "QEMU's -netdev tap",
                  netstack::errno_text(error)),
      fmt::format("{}; `lanyard plug --packet` and vde_plug2tap can do with a veth pair", first),
      error);
}

}  // namespace tools
