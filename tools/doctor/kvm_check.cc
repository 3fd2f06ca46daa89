// Whether KVM works shows in four steps, of which three are taken here: the device opens, speaks
// the one stable version of its interface, and makes a virtual machine. The fourth, a guest that
// runs, is not: some hosts offer a KVM in which a stock kernel spins for ever, and only booting one
// finds that out. So a good answer names what was not tried.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "netstack/base/error.h"
#include "netstack/base/fd.h"
#include "tools/doctor/host_checks.h"

namespace tools {

namespace {

constexpr const char* kDevice = "/dev/kvm";
constexpr const char* kWithout =
    "guests run without acceleration (-accel tcg), several times slower";

// The CPU says that a hypervisor is below: x86's flag. Other machines do not tell.
bool inside_a_virtual_machine() {
  std::ifstream cpus("/proc/cpuinfo");
  for (std::string line; std::getline(cpus, line);) {
    if (line.starts_with("flags")) return (line + ' ').find(" hypervisor ") != line.npos;
  }
  return false;
}

Finding unusable(const std::string& happened, const std::string& cure, int error = 0) {
  return warning("kvm", kDevice, fmt::format("{}: {}", happened, kWithout), cure, error);
}

Finding not_opened(int error) {
  const std::string happened = fmt::format("it does not open: {}", netstack::errno_text(error));
  switch (error) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
      return unusable("there is none",
                      "enable virtualisation in the firmware and load kvm_intel or "
                      "kvm_amd; give a container the device",
                      error);
    case EACCES:
    case EPERM:
      return unusable(happened, "add this user to the device's group, which is usually kvm", error);
    default:
      return unusable(happened, "use -accel tcg", error);
  }
}

}  // namespace

Finding check_kvm() {
  const netstack::Fd kvm(::open(kDevice, O_RDWR | O_CLOEXEC));
  if (!kvm) return not_opened(errno);
  const int version = ::ioctl(kvm.get(), KVM_GET_API_VERSION, 0);
  if (version != KVM_API_VERSION) {
    return unusable(fmt::format("it opens and does not speak KVM's interface (it says {}, {} is "
                                "wanted)",
                                version, KVM_API_VERSION),
                    "use -accel tcg");
  }
  const netstack::Fd machine(::ioctl(kvm.get(), KVM_CREATE_VM, 0));
  if (!machine) {
    const int error = errno;
    return unusable(fmt::format("it is only there: it opens, and makes no virtual machine ({})",
                                netstack::errno_text(error)),
                    "end other hypervisors, or use -accel tcg", error);
  }
  Finding finding{
      "kvm", kDevice,
      fmt::format("opens, speaks version {}, made a virtual machine; no guest was run in "
                  "it",
                  version)};
  if (inside_a_virtual_machine()) {
    finding.fact +=
        ", and this machine is a virtual machine itself: if a guest hangs before its "
        "first line, use -accel tcg";
  }
  return finding;
}

}  // namespace tools
