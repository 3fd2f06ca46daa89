#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "driver/program.h"
#include "driver/qemu_features.h"
#include "netstack/base/error.h"
#include "netstack/base/fd.h"
#include "tools/doctor/host_checks.h"

namespace tools {

namespace {

using driver::QemuFeatures;

std::string transports(const QemuFeatures& qemu) {
  std::string names;
  const auto add = [&](bool has, const char* name) {
    if (has) names.append(names.empty() ? "" : ", ").append(name);
  };
  add(qemu.vhost_user, "vhost-user");
  add(qemu.stream, "stream");
  add(qemu.vde, "vde");
  return names.empty() ? "none" : names;
}

Finding describe_qemu(const std::string& program, const QemuFeatures& qemu) {
  if (!qemu.known) {
    return warning("qemu", "QEMU", program + " does not say in 5 s what it is",
                   "run it with -help and see");
  }
  const std::string fact =
      fmt::format("{}: version {}.{}, accelerators {}, -netdev {}", program, qemu.major, qemu.minor,
                  fmt::join(driver::qemu_accelerators(program), ", "), transports(qemu));
  if (qemu.stream || qemu.vde || qemu.vhost_user) return {"qemu", "QEMU", fact};
  return warning("qemu", "QEMU", fact + ": no way to plug into a LAN",
                 "take QEMU 7.2 or later, or one built with VDE");
}

// Memory that QEMU and we both see.
int memfd_errno() {
  const netstack::Fd memory(::memfd_create("lanyard-doctor", MFD_CLOEXEC));
  return memory ? 0 : errno;
}

Finding describe_vhost_user(const std::string& program, const QemuFeatures& qemu,
                            const Finding& kvm) {
  const char* id = "vhost-user";
  const char* otherwise = "guests plug in by stream or VDE, which copy more";
  const std::string better = "nothing, if that is fast enough";
  if (!qemu.vhost_user || !qemu.at_least(5, 0)) {
    return warning(id, id, fmt::format("this QEMU has none that fits: {}", otherwise), better);
  }
  if (!driver::qemu_has_object(program, "memory-backend-memfd")) {
    return warning(id, id,
                   fmt::format("this QEMU lacks memory-backend-memfd, so a guest's memory cannot "
                               "be shared: {}",
                               otherwise),
                   better);
  }
  if (const int error = memfd_errno(); error != 0) {
    return warning(id, id,
                   fmt::format("memfd_create is refused here ({}): {}", netstack::errno_text(error),
                               otherwise),
                   "allow memfd_create in the sandbox or seccomp filter", error);
  }
  if (!kvm.ok) {
    return warning(id, id,
                   "this QEMU and memory-backend-memfd are there; without KVM it dies when the "
                   "card's interrupts are to go through the kernel",
                   "let `lanyard run` or lanyard-qemu plug the card in, or write vectors=0 behind "
                   "-device virtio-net-pci yourself");
  }
  return {id, id,
          "this QEMU and memory-backend-memfd are there; guests run with -accel tcg take vectors=0 "
          "behind -device virtio-net-pci, which `lanyard run` and lanyard-qemu add"};
}

}  // namespace

Findings check_qemu(const Finding& kvm) {
  const std::string name = driver::qemu_for_this_machine();
  const char* path = std::getenv("PATH");
  const std::string program =
      driver::find_next_program(name, path != nullptr ? path : "/usr/bin:/bin", {});
  if (program.empty()) {
    return {warning("qemu", "QEMU",
                    fmt::format("no {} in PATH: `lanyard run` takes the path of another", name),
                    "install QEMU (Debian: qemu-system-x86 on PCs)"),
            warning("vhost-user", "vhost-user", "not looked at without QEMU", "")};
  }
  const QemuFeatures qemu = driver::ask_qemu(program);
  return {describe_qemu(program, qemu), describe_vhost_user(program, qemu, kvm)};
}

}  // namespace tools
