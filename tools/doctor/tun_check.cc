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
  Finding finding{"tun", "/dev/net/tun", "opens"};
  finding.needed = false;
  const netstack::Fd tun(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  const int error = tun ? 0 : errno;
  finding.errno_value = error;
  finding.ok = error == 0;
  if (error == 0) {
    finding.fact += has_capability(CAP_NET_ADMIN)
                        ? ", and this process may make taps"
                        : "; making a tap also takes CAP_NET_ADMIN, which this process has not";
    return finding;
  }
  finding.fact = fmt::format(
      "it does not open ({}): no taps, so neither `lanyard plug --tap` nor "
      "QEMU's -netdev tap",
      netstack::errno_text(error));
  finding.cure = error == EACCES || error == EPERM
                     ? "give this user the device; `lanyard plug --packet` and vde_plug2tap can do "
                       "with a veth pair"
                     : "load the module tun, or give a container the device; `lanyard plug "
                       "--packet` and vde_plug2tap can do with a veth pair";
  return finding;
}

}  // namespace tools
