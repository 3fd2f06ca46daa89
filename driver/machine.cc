#include "driver/machine.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "driver/option_list.h"
#include "netstack/base/fd.h"

namespace driver {

namespace {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == text.npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string file_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

std::string arch_of(const std::string& program) {
  constexpr std::string_view kPrefix = "qemu-system-";
  const std::string name = file_name(program);
  return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : "";
}

// -accel wins over -machine accel=; QEMU refuses a command with both.
std::vector<std::string> accelerators(const CommandLine& command) {
  std::vector<std::string> names;
  for (const auto& option : command.named("machine")) {
    const OptionList list = OptionList::parse(command.value(option), "type");
    if (const std::string* accel = list.find("accel")) names = split(*accel, ':');
  }
  if (command.has("enable-kvm")) names = {"kvm"};
  std::vector<std::string> several;
  for (const auto& option : command.named("accel")) {
    for (std::string& name :
         split(OptionList::parse(command.value(option), "accel").get("accel"), ':')) {
      several.push_back(std::move(name));
    }
  }
  if (!several.empty()) names = several;
  if (names.empty() && file_name(command.words()[0]).ends_with("kvm")) names = {"kvm", "tcg"};
  if (names.empty()) names = {"tcg"};
  return names;
}

bool irqchip_off(const CommandLine& command) {
  for (const char* name : {"machine", "accel"}) {
    for (const auto& option : command.named(name)) {
      const OptionList list = OptionList::parse(command.value(option), "");
      for (const char* key : {"kernel-irqchip", "kernel_irqchip"}) {
        if (list.get(key) == "off") return true;
      }
    }
  }
  return false;
}

}  // namespace

Machine Machine::of(const CommandLine& command, const std::function<bool()>& kvm_works) {
  Machine machine;
  for (const auto& option : command.named("machine")) {
    const OptionList list = OptionList::parse(command.value(option), "type");
    if (list.has("type")) machine.type = list.get("type");
  }
  machine.arch = arch_of(command.words()[0]);
  const std::vector<std::string> names = accelerators(command);
  for (size_t i = 0; i < names.size(); ++i) {
    const bool last = i + 1 == names.size();
    if (names[i] == "kvm" && !last && !kvm_works()) continue;
    machine.accelerator = names[i] == "kvm"   ? Accelerator::kKvm
                          : names[i] == "tcg" ? Accelerator::kTcg
                                              : Accelerator::kOther;
    break;
  }
  machine.irqfd = machine.accelerator == Accelerator::kKvm && !irqchip_off(command);
  return machine;
}

std::string Machine::card_model() const {
  if (type.starts_with("microvm")) return "virtio-net-device";
  if (arch == "s390x") return "virtio-net-ccw";
  return "virtio-net-pci";
}

std::string Machine::virtio_net_alias() const {
  if (arch == "s390x") return "virtio-net-ccw";
  return arch == "m68k" ? "virtio-net-device" : "virtio-net-pci";
}

bool kvm_works() {
  const netstack::Fd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm) return false;
  return static_cast<bool>(netstack::Fd(::ioctl(kvm.get(), KVM_CREATE_VM, 0)));
}

}  // namespace driver
