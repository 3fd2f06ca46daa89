// What the choice of a transport rests on: QEMU, the machine, its memory; and the choice itself.
#include "driver/transport_choice.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "driver/guest_memory.h"
#include "driver/machine.h"
#include "driver/qemu_features.h"

namespace driver {
namespace {

using State = GuestMemory::State;
using Words = std::vector<std::string>;

CommandLine command(const Words& options, const std::string& program = "qemu-system-x86_64") {
  Words words = {program};
  words.insert(words.end(), options.begin(), options.end());
  return CommandLine(words);
}

// --- QEMU ---------------------------------------------------------------------------------------

TEST_CASE("QEMU's help tells its version and what was compiled in") {
  const QemuFeatures debian = QemuFeatures::read(
      "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n"
      "-netdev stream,id=str\n-netdev vde,id=str\n-netdev vhost-user,id=str,chardev=dev\n");
  CHECK(debian.known);
  CHECK(debian.major == 7);
  CHECK(debian.minor == 2);
  CHECK((debian.stream && debian.vde && debian.vhost_user));
  CHECK(debian.at_least(7, 2));
  CHECK(debian.at_least(5, 9));
  CHECK(!debian.at_least(7, 3));
  CHECK(!debian.at_least(8, 0));
  const QemuFeatures old = QemuFeatures::read("QEMU emulator version 6.2.0\n-netdev user,id=str\n");
  CHECK(old.known);
  CHECK(!(old.stream || old.vde || old.vhost_user));
  for (const char* text : {"", "usage: wrapper", "QEMU emulator version seven",
                           "QEMU emulator "
                           "version 7"}) {
    CHECK(!QemuFeatures::read(text).known);
  }
}

TEST_CASE("only programs with QEMU's names are asked") {
  for (const char* name : {"qemu-system-x86_64", "/usr/bin/qemu-system-arm", "/nix/x/bin/qemu-kvm",
                           "kvm", "lanyard-qemu"}) {
    CHECK(has_qemus_name(name));
  }
  for (const char* name : {"sh", "./run-qemu-system-x86_64", "qemu-img", "/bin/kvm-start"}) {
    CHECK(!has_qemus_name(name));
  }
}

TEST_CASE("a program that fails, or says nothing of use, is unknown") {
  std::string folder = std::filesystem::temp_directory_path() / "lanyard-ask-XXXXXX";
  REQUIRE(::mkdtemp(folder.data()) != nullptr);
  const std::string program = folder + "/qemu-system-x86_64";
  const auto ask = [&](const std::string& script) {
    std::ofstream(program) << "#!/bin/sh\n" << script;
    ::chmod(program.c_str(), 0755);
    return ask_qemu(program);
  };
  CHECK(ask("[ \"$*\" = -help ] && echo QEMU emulator version 9.1.0").at_least(9, 1));
  CHECK(!ask("echo QEMU emulator version 9.1.0; exit 1").known);
  CHECK(!ask("exit 0").known);
  CHECK(!ask_qemu(folder + "/qemu-system-absent").known);
  std::filesystem::remove_all(folder);
}

// --- the machine --------------------------------------------------------------------------------

std::string machine_text(const Words& options, bool kvm,
                         const std::string& program = "qemu-system-x86_64") {
  const Machine machine = Machine::of(command(options, program), [kvm] { return kvm; });
  constexpr const char* kNames[] = {"tcg", "kvm", "other"};
  return fmt::format("{}{}", kNames[static_cast<size_t>(machine.accelerator)],
                     machine.irqfd ? "+irqfd" : "");
}

TEST_CASE("the accelerator is the one QEMU would take") {
  CHECK(machine_text({}, true) == "tcg");
  CHECK(machine_text({"-enable-kvm", "-cpu", "host"}, false) == "kvm+irqfd");
  CHECK(machine_text({"-accel", "tcg,thread=multi"}, true) == "tcg");
  CHECK(machine_text({"-accel", "accel=kvm"}, true) == "kvm+irqfd");
  CHECK(machine_text({"-accel", "kvm", "-accel", "tcg"}, true) == "kvm+irqfd");
  CHECK(machine_text({"-accel", "kvm", "-accel", "tcg"}, false) == "tcg");
  CHECK(machine_text({"-accel", "kvm:tcg"}, false) == "tcg");
  CHECK(machine_text({"-machine", "accel=kvm:tcg"}, true) == "kvm+irqfd");
  CHECK(machine_text({"-machine", "accel=kvm:tcg"}, false) == "tcg");
  CHECK(machine_text({"-M", "q35,accel=tcg", "-M", "accel=kvm"}, true) == "kvm+irqfd");
  CHECK(machine_text({"-M", "q35,accel=xen"}, true) == "other");
  CHECK(machine_text({"-accel", "kvm,kernel-irqchip=off"}, true) == "kvm");
  CHECK(machine_text({"-M", "q35,accel=kvm,kernel_irqchip=off"}, true) == "kvm");
  CHECK(machine_text({}, true, "/nix/bin/qemu-kvm") == "kvm+irqfd");
  CHECK(machine_text({}, false, "/nix/bin/qemu-kvm") == "tcg");
}

TEST_CASE("the card's model goes with the machine") {
  const auto model = [](const Words& options, const std::string& program) {
    return Machine::of(command(options, program), [] { return false; }).card_model();
  };
  const std::string x86 = "qemu-system-x86_64";
  CHECK(model({}, x86) == "virtio-net-pci");
  CHECK(model({"-M", "microvm"}, x86) == "virtio-net-device");
  CHECK(model({"--machine", "microvm,rtc=on"}, x86) == "virtio-net-device");
  CHECK(model({"-machine", "accel=tcg,type=microvm"}, x86) == "virtio-net-device");
  CHECK(model({"-machine", "microvm", "-machine", "accel=tcg"}, x86) == "virtio-net-device");
  CHECK(model({"-M", "microvm", "-M", "q35"}, x86) == "virtio-net-pci");
  CHECK(model({"-name", "microvm", "-M", "q35"}, x86) == "virtio-net-pci");
  CHECK(model({"-M"}, x86) == "virtio-net-pci");
  CHECK(model({}, "/opt/qemu-system-s390x") == "virtio-net-ccw");
}

// --- its memory ---------------------------------------------------------------------------------

TEST_CASE("sizes of -m are bytes, as QEMU counts them") {
  constexpr uint64_t kMiB = 1ULL << 20;
  CHECK(memory_size("512") == 512 * kMiB);
  CHECK(memory_size("1G") == 1024 * kMiB);
  CHECK(memory_size("1g") == 1024 * kMiB);
  CHECK(memory_size("1.5G") == 1536 * kMiB);
  CHECK(memory_size("262144k") == 256 * kMiB);
  CHECK(memory_size("268435457b") == 256 * kMiB + 8192);
  CHECK(memory_size("0") == 0);
  for (const char* text : {"", "G", "-1", "1Gi", "1 G", "0x10", "1X", "1e400", "nan", "inf"}) {
    CAPTURE(text);
    CHECK(!memory_size(text));
  }
}

// "shared", "add BYTES", "VALUE of the object", or why it is private.
std::string memory_text(const Words& options, const std::string& program = "qemu-system-x86_64") {
  const CommandLine words = command(options, program);
  const Machine machine = Machine::of(words, [] { return false; });
  const GuestMemory memory = GuestMemory::of(words, machine);
  if (memory.state == State::kShared) return "shared";
  if (memory.state == State::kPrivate) return memory.why_private;
  if (memory.object_size != 0) return fmt::format("add {}", memory.object_size);
  return memory.completed.front().second;
}

struct MemoryCase {
  Words options;
  std::string expected;
};

TEST_CASE("memory is shared, can be, or must stay private") {
  const std::string memfd = "memory-backend-memfd,id=mem,size=1024M";
  const std::vector<MemoryCase> cases = {
      {{}, "add 134217728"},
      {{"-M", "q35"}, "add 134217728"},
      {{"-M", "pc-i440fx-7.2"}, "add 134217728"},
      {{"-M", "xenfv"}, "its size is not known without -m"},
      {{"-m", "1G"}, "add 1073741824"},
      {{"-M", "xenfv", "-m", "1G"}, "add 1073741824"},
      {{"-m", "size=1G,slots=2,maxmem=4G"}, "add 1073741824"},
      {{"-m", "1G", "-m", "slots=2,maxmem=4G"}, "add 1073741824"},
      {{"-m", "1G", "-m", "256"}, "add 268435456"},
      {{"-m", "much"}, "-m much is not a size"},
      {{"-m", "0"}, "-m 0 is not a size"},
      {{"-object", memfd + ",share=on", "-machine", "memory-backend=mem"}, "shared"},
      {{"-machine", "q35,memory-backend=mem", "-object", memfd}, "shared"},
      {{"-object", memfd, "-numa", "node,memdev=mem"}, "shared"},
      {{"-object", memfd + ",share=off", "-machine", "memory-backend=mem"},
       "the memory object 'mem' says share=off"},
      {{"-object", "memory-backend-ram,id=mem,size=1G,prealloc=on", "-machine",
        "memory-backend=mem"},
       "memory-backend-memfd,id=mem,size=1G,prealloc=on,share=on"},
      {{"-object", "qom-type=memory-backend-ram,id=mem,size=1G", "-numa", "node,memdev=mem"},
       "qom-type=memory-backend-memfd,id=mem,size=1G,share=on"},
      {{"-object", "memory-backend-ram,id=mem,size=1G,share=on", "-machine", "memory-backend=mem"},
       "memory-backend-memfd,id=mem,size=1G,share=on"},
      {{"-object", "memory-backend-ram,id=mem,size=1G,share=off", "-machine", "memory-backend=mem"},
       "the memory object 'mem' says share=off"},
      {{"-object", "memory-backend-file,id=mem,mem-path=/x,size=1G", "-machine",
        "memory-backend=mem"},
       "the memory object 'mem' is a private memory-backend-file"},
      {{"-object", "memory-backend-file,id=mem,mem-path=/x,size=1G,share", "-machine",
        "memory-backend=mem"},
       "shared"},
      {{"-object", R"({"qom-type":"memory-backend-memfd","id":"mem"})", "-machine",
        "memory-backend=mem"},
       "the memory object 'mem' is not in the command"},
      {{"-object", memfd, "-object", "memory-backend-file,id=b,mem-path=/x,size=1G", "-numa",
        "node,memdev=mem", "-numa", "node,memdev=b"},
       "the memory object 'b' is a private memory-backend-file"},
      {{"-m", "1G", "-numa", "node,mem=1G"}, "-numa gives it by size"},
      {{"-m", "1G", "-numa", "node"}, "add 1073741824"},
      {{"-mem-path", "/dev/hugepages"}, "-mem-path is in the command"},
      {{"-m", "1G", "-mem-prealloc"}, "add 1073741824"},
      {{"-incoming", "defer"}, "-incoming is in the command"},
      {{"-loadvm", "snap", "-object", memfd, "-M", "memory-backend=mem"}, "shared"},
      {{"-M", "memory.size=1G"}, "-machine sets memory.size"},
      {{"-M", "q35,confidential-guest-support=sev0"},
       "-machine confidential-guest-support makes it secret"},
  };
  for (const MemoryCase& row : cases) {
    CAPTURE(fmt::format("{}", row.options));
    CHECK(memory_text(row.options) == row.expected);
  }
  CHECK(memory_text({}, "qemu-system-aarch64") == "its size is not known without -m");
  CHECK(memory_text({}, "./script") == "its size is not known without -m");
}

// --- the choice ---------------------------------------------------------------------------------

TransportFacts best() {
  TransportFacts facts;
  facts.lan = {true, true, true};
  facts.qemu = QemuFeatures::read(
      "QEMU emulator version 7.2.0\n-netdev stream,\n-netdev vde,\n-netdev vhost-user,\n");
  facts.memory = State::kCanBe;
  return facts;
}

std::string text(const TransportChoice& choice) {
  return fmt::format("{}|{}", choice.transport ? transport_name(*choice.transport) : "none",
                     choice.passed_over);
}

TEST_CASE("the fastest transport that is possible is chosen, and why none faster") {
  TransportFacts facts = best();
  CHECK(text(choose_transport(facts)) == "vhost-user|");
  facts.memory = State::kShared;
  CHECK(text(choose_transport(facts)) == "vhost-user|");
  facts.memory = State::kPrivate;
  facts.why_private = "so";
  CHECK(text(choose_transport(facts)) ==
        "stream|vhost-user: the guest's memory cannot be shared: so");
  facts = best();
  facts.card_obstacle = "its card is odd";
  CHECK(text(choose_transport(facts)) == "stream|vhost-user: its card is odd");
  facts = best();
  facts.lan.vhost_user = false;
  CHECK(text(choose_transport(facts)) == "stream|vhost-user: the LAN does not offer it");
  facts = best();
  facts.qemu.vhost_user = false;
  facts.qemu.stream = false;
  CHECK(text(choose_transport(facts)) ==
        "vde|vhost-user: this QEMU was built without it; stream: it came with QEMU 7.2 and this "
        "one does not have it");
  facts = best();
  facts.qemu.major = 4;
  CHECK(text(choose_transport(facts)) == "stream|vhost-user: QEMU 4.2 is older than 5.0");
  facts = best();
  facts.qemu.known = false;
  CHECK(text(choose_transport(facts)) ==
        "stream|vhost-user: the program does not say what QEMU it is");
  facts.lan = {};
  CHECK(choose_transport(facts).transport == std::nullopt);
}

TEST_CASE("a forced transport is taken or refused, never replaced") {
  TransportFacts facts = best();
  for (const Transport transport : kTransports) {
    CHECK(choose_transport(facts, transport).transport == transport);
    CHECK(transport_named(transport_name(transport)) == transport);
  }
  facts.memory = State::kPrivate;
  facts.why_private = "so";
  CHECK(text(choose_transport(facts, Transport::kVhostUser)) ==
        "none|vhost-user: the guest's memory cannot be shared: so");
  facts = best();
  facts.qemu.known = false;
  CHECK(text(choose_transport(facts, Transport::kVhostUser)) == "vhost-user|");
  CHECK(!transport_named("tap"));
}

}  // namespace
}  // namespace driver
