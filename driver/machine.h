#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "driver/command_line.h"

namespace driver {

enum class Accelerator : uint8_t { kTcg, kKvm, kOther };

// The machine a command makes, as far as its network cards are concerned.
struct Machine {
  std::string type;  // "microvm" for "-M microvm,rtc=on"; empty: QEMU's default
  std::string arch;  // "x86_64" for qemu-system-x86_64; empty: the program's name does not say
  Accelerator accelerator = Accelerator::kTcg;
  bool irqfd = false;  // a back end's interrupts go to the guest through the kernel

  // "-accel kvm -accel tcg" and "accel=kvm:tcg" name several: the first that works is taken, and
  // `kvm_works` is asked whether that is KVM.
  static Machine of(const CommandLine& command, const std::function<bool()>& kvm_works);

  // The virtio network card this machine can have: microvm has no PCI bus, s390x plugs devices into
  // its channel subsystem.
  std::string card_model() const;
  // What -device takes "virtio-net" for.
  std::string virtio_net_alias() const;
};

// A virtual machine can be made with /dev/kvm. It may still not get far.
bool kvm_works();

}  // namespace driver
