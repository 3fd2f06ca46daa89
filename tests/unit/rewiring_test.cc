// QEMU commands on their way to another network: what becomes of their words.
#include "driver/rewiring.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "netstack/base/error.h"

namespace driver {
namespace {

using Words = std::vector<std::string>;

Words with(Words first, const Words& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

const Words kQemu = {"qemu-system-x86_64"};

// A world in which /fast has every socket, /slow and /refused no vhost-user, /vde only VDE's.
struct World {
  std::string version = "7.2.22";
  bool kvm = false;
  unsigned asked = 0;

  Surroundings surroundings() {
    Surroundings result;
    result.qemu = [this] {
      ++asked;
      return QemuFeatures::read(fmt::format(
          "QEMU emulator version {}\n-netdev stream,\n-netdev vde,\n-netdev vhost-user,\n",
          version));
    };
    result.kvm_works = [this] { return kvm; };
    result.lan = [](const std::string& directory) {
      LanSockets sockets;
      sockets.vhost_user = directory == "/fast";
      sockets.stream = directory == "/fast" || directory == "/slow" || directory == "/refused";
      sockets.vde = true;
      return sockets;
    };
    result.plug = [](const std::string& directory, Transport transport, const QemuFeatures& qemu) {
      if (directory == "/refused") throw netstack::Error(EX_UNAVAILABLE, "cannot join it");
      return name_plug(directory, transport, qemu);
    };
    return result;
  }
};

struct Rewired {
  Words argv;  // without the program
  Words notes;
};

Rewired rewire(const Words& options, World world = {}, std::optional<Transport> forced = {}) {
  Rewiring wiring(with(kQemu, options), world.surroundings());
  Rewired result;
  result.notes = wiring.replug_vde_networks(forced);
  result.argv = wiring.argv();
  result.argv.erase(result.argv.begin());
  return result;
}

// The back ends, as name_plug writes them.
const std::string kFast = "socket,path=/fast/vhost-user,reconnect=1,id=lanyard0";
const std::string kStream = "stream,server=off,addr.type=unix,addr.path=/slow/stream";

struct Case {
  std::string what;
  Words options;
  Words expected;
};

void check(const std::vector<Case>& cases, const World& world = {}) {
  for (const Case& row : cases) {
    CAPTURE(row.what);
    const Rewired result = rewire(row.options, world);
    CHECK(fmt::format("{}", fmt::join(result.argv, " ")) ==
          fmt::format("{}", fmt::join(row.expected, " ")));
    CHECK(result.argv == row.expected);
  }
}

const Words kShared = {"-object",  "memory-backend-memfd,id=mem,size=1024M,share=on",
                       "-machine", "memory-backend=mem",
                       "-machine", "accel=kvm:tcg"};

TEST_CASE("a NixOS machine moves to vhost-user of the same LAN") {
  const Words network = {"-device", "virtio-net-pci,netdev=vlan1,mac=52:54:00:12:01:01", "-netdev",
                         "vde,id=vlan1,sock=/fast"};
  const Words eth0 = {"-net", "nic,netdev=user.0,model=virtio", "-netdev", "user,id=user.0,"};
  const Words netdev = {"-chardev", kFast, "-netdev", "vhost-user,chardev=lanyard0,id=vlan1"};
  const std::string device = "virtio-net-pci,netdev=vlan1,mac=52:54:00:12:01:01";
  World world;
  world.kvm = true;
  check({{"KVM", with(with(kShared, eth0), network),
          with(with(with(kShared, eth0), {"-device", device}), netdev)}},
        world);
  world.kvm = false;
  check({{"TCG, which needs vectors=0", with(kShared, network),
          with(with(kShared, {"-device", device + ",vectors=0"}), netdev)},
         {"memory that is not shared yet", with(network, {"-m", "256"}),
          with(with(with({"-device", device + ",vectors=0"}, netdev), {"-m", "256"}),
               {"-object", "memory-backend-memfd,id=lanyard1,size=268435456,share=on", "-machine",
                "memory-backend=lanyard1"})}},
        world);
  Words slow = network;
  slow[3] = "vde,id=vlan1,sock=/slow";
  check({{"a LAN without vhost-user", with(kShared, slow),
          with(kShared, {"-device", device, "-netdev", kStream + ",id=vlan1"})}});
}

TEST_CASE("every form of a VDE network keeps its card") {
  check({
      {"-netdev, any card",
       {"-netdev", "vde,id=n,sock=/slow", "-device", "e1000,netdev=n"},
       {"-netdev", kStream + ",id=n", "-device", "e1000,netdev=n"}},
      {"-netdev, no card yet",
       {"-netdev", "vde,id=n,sock=/fast"},
       {"-netdev", "stream,server=off,addr.type=unix,addr.path=/fast/stream,id=n"}},
      {"group and mode go with VDE",
       {"-netdev", "vde,id=n,sock=/slow,group=g,mode=0600,port=0"},
       {"-netdev", kStream + ",id=n"}},
      {"-nic",
       {"-nic", "vde,sock=/slow,model=rtl8139,mac=52:54:00:00:00:07"},
       {"-netdev", kStream + ",id=lanyard0", "-net",
        "nic,netdev=lanyard0,model=rtl8139,macaddr=52:54:00:00:00:07"}},
      {"-nic with an id",
       {"-nic", "vde,id=x,sock=/slow"},
       {"-netdev", kStream + ",id=x", "-net", "nic,netdev=x"}},
      {"-net, one card",
       {"-net", "nic,model=e1000,macaddr=52:54:00:00:00:07", "-net", "vde,sock=/slow"},
       {"-net", "nic,model=e1000,macaddr=52:54:00:00:00:07,netdev=lanyard0", "-netdev",
        kStream + ",id=lanyard0"}},
      {"-net, two cards",
       {"-net", "nic", "-net", "nic", "-net", "vde,sock=/slow"},
       {"-net", "nic", "-net", "nic", "-netdev", kStream + ",id=lanyard0", "-netdev",
        "hubport,id=lanyard1,hubid=0,netdev=lanyard0"}},
      {"two -nic in their order",
       {"-nic", "vde,sock=/slow,id=a", "-nic", "vde,sock=/slow,id=b"},
       {"-netdev", kStream + ",id=a", "-net", "nic,netdev=a", "-netdev", kStream + ",id=b", "-net",
        "nic,netdev=b"}},
      {"-nic before -net nic",
       {"-nic", "vde,sock=/slow,id=a", "-net", "nic,netdev=x"},
       {"-netdev", kStream + ",id=a", "-net", "nic,netdev=a", "-net", "nic,netdev=x"}},
      {"a trailing comma",
       {"-netdev", "vde,id=n,sock=/fast,", "-device", "virtio-net-pci,netdev=n,", "-m", "1G",
        "-mem-path", "/x"},
       {"-netdev", "stream,server=off,addr.type=unix,addr.path=/fast/stream,id=n", "-device",
        "virtio-net-pci,netdev=n,", "-m", "1G", "-mem-path", "/x"}},
  });
}

TEST_CASE("vhost-user fits the card it finds") {
  const Words netdev = {"-netdev", "vde,id=n,sock=/fast"};
  const Words backend = {"-chardev", kFast, "-netdev", "vhost-user,chardev=lanyard0,id=n"};
  const Words memory = {"-object", "memory-backend-memfd,id=lanyard1,size=134217728,share=on",
                        "-machine", "memory-backend=lanyard1"};
  const auto card = [&](const Words& before, const Words& after) {
    return Case{before[1], with(netdev, before), with(with(backend, after), memory)};
  };
  check({
      card({"-device", "virtio-net-pci,netdev=n,"},
           {"-device", "virtio-net-pci,netdev=n,vectors=0"}),
      card({"-device", "virtio-net-pci,netdev=n,vectors=0"},
           {"-device", "virtio-net-pci,netdev=n,vectors=0"}),
      card({"-device", "virtio-net,netdev=n"}, {"-device", "virtio-net-pci,netdev=n,vectors=0"}),
      card({"-device", "virtio-net-device,netdev=n"}, {"-device", "virtio-net-device,netdev=n"}),
      card({"-device", "netdev=n,driver=virtio-net-pci-non-transitional,rss=off"},
           {"-device", "netdev=n,driver=virtio-net-pci-non-transitional,rss=off,vectors=0"}),
      card({"-net", "nic,netdev=n,model=virtio"}, {"-net", "nic,netdev=n,model=virtio,vectors=0"}),
  });
  check({{"-nic",
          {"-nic", "vde,sock=/fast,id=n,model=virtio-net-pci,mac=52:54:00:00:00:07"},
          with(with(backend, {"-net",
                              "nic,netdev=n,model=virtio-net-pci,macaddr=52:54:00:00:00:07,"
                              "vectors=0"}),
               memory)}});
  World kvm;
  kvm.kvm = true;
  check({{"KVM", with({"-enable-kvm"}, with(netdev, {"-device", "virtio-net-pci,netdev=n"})),
          with(with({"-enable-kvm"}, with(backend, {"-device", "virtio-net-pci,netdev=n"})),
               memory)}},
        kvm);
  World newer;
  newer.version = "10.0.2";
  const Rewired ms = rewire(with(netdev, {"-device", "virtio-net-device,netdev=n"}), newer);
  CHECK(ms.argv[1] == "socket,path=/fast/vhost-user,reconnect-ms=1000,id=lanyard0");
}

TEST_CASE("two guests' cards on vhost-user share one memory object") {
  const Rewired result =
      rewire({"-netdev", "vde,id=a,sock=/fast", "-device", "virtio-net-device,netdev=a", "-netdev",
              "vde,id=b,sock=/fast", "-device", "virtio-net-device,netdev=b"});
  CHECK(std::count(result.argv.begin(), result.argv.end(), "-object") == 1);
  CHECK(std::count(result.argv.begin(), result.argv.end(), "-chardev") == 2);
  CHECK(result.notes.empty());
}

TEST_CASE("plain RAM of the command's own becomes a memfd") {
  const Rewired result =
      rewire({"-object", "memory-backend-ram,id=m,size=1G", "-machine", "q35,memory-backend=m",
              "-netdev", "vde,id=n,sock=/fast", "-device", "virtio-net-device,netdev=n"});
  CHECK(result.argv[1] == "memory-backend-memfd,id=m,size=1G,share=on");
  CHECK(result.argv[3] == "q35,memory-backend=m");
}

// --- what stays ---------------------------------------------------------------------------------

struct Stay {
  Words options;
  std::string note;  // of the one network; empty: none
};

TEST_CASE("what cannot be carried stays word for word, and is said in one line") {
  const std::vector<Stay> cases = {
      {{"-m", "1G"}, ""},
      {{"-netdev", "user,id=n,hostfwd=tcp::22-:22"}, ""},
      {{"-netdev", "stream,id=n,server=off,addr.type=fd,addr.str=3"}, ""},
      {{"-netdev", "vhost-user,id=n,chardev=c"}, ""},
      {{"-netdev", "vde,id=n"}, "it names no socket directory"},
      {{"-netdev", "vde,sock=/slow"}, "it has no id="},
      {{"-netdev", "vde,id=n,sock=/vde"}, "/vde has no socket that is faster"},
      {{"-netdev", "vde,id=n,sock=/refused"}, "cannot join it"},
      {{"-netdev", "vde,id=n,sock=/slow,port=3"},
       "it wants port 3, and only VDE's own protocol can say so"},
      {{"-netdev", "vde,id=n,sock=vxvde://239.1.2.3"},
       "vxvde://239.1.2.3 is more than a directory"},
      {{"-netdev", "vde,id=n,sock=/slow[3]"}, "/slow[3] is more than a directory"},
      {{"-netdev", R"({"type":"vde","id":"n","sock":"/slow"})"},
       "it is in JSON form; write it as KEY=VALUE to have it carried"},
      {{"-nic", "vde,sock=/slow", "-nic", "tap"},
       "another card would change its place; write it as -netdev and -device"},
      {{"-net", "nic,netdev=x", "-nic", "vde,sock=/slow"},
       "another card would change its place; write it as -netdev and -device"},
      {{"-net", "vde,sock=/slow"}, "no -net nic is there to join it"},
      {{"-append", "-netdev", "vde,id=n,sock=/slow"}, ""},
  };
  for (const Stay& row : cases) {
    CAPTURE(fmt::format("{}", row.options));
    const Rewired result = rewire(row.options);
    CHECK(result.argv == row.options);
    REQUIRE(result.notes.size() == (row.note.empty() ? 0 : 1));
    if (row.note.empty()) continue;
    CHECK(result.notes[0].find(": left as it is: " + row.note) != std::string::npos);
    CHECK(result.notes[0].find('\n') == std::string::npos);
  }
}

TEST_CASE("a card that vhost-user does not go with takes the stream") {
  for (const char* card :
       {"e1000,netdev=n", "virtio-net-pci,netdev=n,vectors=3", "virtio-net-pci,netdev=n,failover",
        "virtio-net-pci,netdev=n,iommu_platform=on", "virtio-net-pci,netdev=n,rss=on",
        "virtio-net-pci,netdev=n,host_mtu=9000", "virtio-net-pci,netdev=other",
        R"({"driver":"virtio-net-pci","netdev":"n"})"}) {
    CAPTURE(card);
    const Rewired result = rewire({"-netdev", "vde,id=n,sock=/fast", "-device", card});
    CHECK(result.argv == Words{"-netdev",
                               "stream,server=off,addr.type=unix,addr.path=/fast/stream,id=n",
                               "-device", card});
  }
  const Rewired filtered =
      rewire({"-netdev", "vde,id=n,sock=/fast", "-device", "virtio-net-pci,netdev=n", "-object",
              "filter-dump,id=f,netdev=n,file=x"});
  CHECK(filtered.argv[1].starts_with("stream,"));
  CHECK(filtered.argv.size() == 6);
}

TEST_CASE("a transport can be forced, and QEMU is asked only when there is something to choose") {
  const Words command = {"-netdev", "vde,id=n,sock=/fast", "-device", "virtio-net-pci,netdev=n"};
  CHECK(rewire(command, {}, Transport::kStream).argv[1].starts_with("stream,"));
  CHECK(rewire(command, {}, Transport::kVde).argv == command);
  const Rewired refused = rewire({"-netdev", "vde,id=n,sock=/slow"}, {}, Transport::kVhostUser);
  CHECK(refused.argv[1] == "vde,id=n,sock=/slow");
  CHECK(refused.notes == Words{"-netdev vde,id=n: left as it is: vhost-user: the LAN does not "
                               "offer it"});
  World world;
  for (const Words& options : {Words{"-netdev", "user,id=n"}, {"-netdev", "vde,id=n,sock=/vde"}}) {
    Rewiring wiring(with(kQemu, options), world.surroundings());
    wiring.replug_vde_networks();
  }
  CHECK(world.asked == 0);
  Rewiring wiring(with(kQemu, with(command, {"-netdev", "vde,id=m,sock=/slow"})),
                  world.surroundings());
  wiring.replug_vde_networks();
  CHECK(world.asked == 1);
  Rewiring stream_only(kQemu, world.surroundings());
  CHECK(stream_only.choose_for_card({false, true, false}).transport == Transport::kStream);
  CHECK(world.asked == 1);
}

// --- an added card ------------------------------------------------------------------------------

TEST_CASE("a card is added at the end of a command that is otherwise kept") {
  World world;
  const LanSockets stream{false, true, false};
  const auto add = [&](const Words& argv, const LanSockets& lan) {
    Rewiring wiring(argv, world.surroundings());
    const TransportChoice choice = wiring.choose_for_card(lan);
    wiring.add_card(plug_privately(*choice.transport).guest, "52:54:00:aa:bb:01");
    const std::vector<netstack::Fd> inherited = wiring.take_inherited();
    REQUIRE(inherited.size() == 1);
    const Words added = wiring.argv();
    CHECK(Words(added.begin(), added.begin() + static_cast<long>(argv.size())) == argv);
    std::string text = fmt::format(
        "{}", fmt::join(added.begin() + static_cast<long>(argv.size()), added.end(), " "));
    const std::string number = fmt::format("{}", inherited[0].get());
    for (const std::string name : {"self/fd/", "addr.str="}) {
      const size_t at = text.find(name + number + ",");
      if (at != text.npos) text.replace(at + name.size(), number.size(), "N");
    }
    return text;
  };
  const std::string netdev = "-netdev stream,server=off,addr.type=fd,addr.str=N,id=";
  CHECK(add(kQemu, stream) ==
        netdev + "lanyard0 -device virtio-net-pci,netdev=lanyard0,mac=52:54:00:aa:bb:01");
  CHECK(add(with(kQemu, {"-drive", "id=lanyard0"}), stream) ==
        netdev + "lanyard1 -device virtio-net-pci,netdev=lanyard1,mac=52:54:00:aa:bb:01");
  CHECK(add(with(kQemu, {"-M", "microvm", "-nodefaults"}), stream) ==
        netdev + "lanyard0 -device virtio-net-device,netdev=lanyard0,mac=52:54:00:aa:bb:01");
  CHECK(add(with(kQemu, {"-m", "64M"}), LanSockets{true, true, false}) ==
        "-object memory-backend-memfd,id=lanyard2,size=67108864,share=on "
        "-machine memory-backend=lanyard2 "
        "-chardev socket,path=/proc/self/fd/N,id=lanyard1 -netdev "
        "vhost-user,chardev=lanyard1,id=lanyard0 "
        "-device virtio-net-pci,netdev=lanyard0,mac=52:54:00:aa:bb:01,vectors=0");
}

TEST_CASE("a user network is carried by its id") {
  World world;
  Rewiring wiring(with(kQemu, {"-net", "nic,netdev=user.0,model=virtio", "-netdev",
                               "user,id=user.0,hostfwd=tcp::1-:2,"}),
                  world.surroundings());
  REQUIRE(wiring.networks().size() == 1);
  const Network& network = wiring.networks()[0];
  CHECK(wiring.refusal(network).empty());
  const auto choice = wiring.choose(network, {false, true, false});
  REQUIRE(choice.transport == Transport::kStream);
  Attachment attachment;
  attachment.netdev = "stream,addr.str=9";
  wiring.replug(network, std::move(attachment));
  CHECK(wiring.argv() == with(kQemu, {"-net", "nic,netdev=user.0,model=virtio", "-netdev",
                                      "stream,addr.str=9,id=user.0"}));
}

// --- any command at all -------------------------------------------------------------------------

TEST_CASE("any command without a faster LAN comes out as it went in") {
  const char* given = std::getenv("LANYARD_SEED");
  const unsigned first = given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10))
                                          : std::random_device{}();
  const Words pieces = {"-netdev",  "-nic",         "-net",  "-device",   "-m",
                        "-machine", "-object",      "-S",    "-snapshot", "-append",
                        "user",     "vde",          "nic",   "none",      "{",
                        ",",        ",,",           "=",     "id=n",      "sock=/vde",
                        "netdev=n", "model=virtio", "e1000", "1G",        "",
                        "port=1",   "share=on",     "x y",   "'",         "-"};
  for (unsigned round = 0; round < 5000; ++round) {
    CAPTURE(first + round);
    std::mt19937 random(first + round);
    Words words = kQemu;
    for (size_t count = random() % 12; count > 0; --count) {
      std::string word = pieces[random() % pieces.size()];
      if (!word.starts_with('-')) {
        for (size_t more = random() % 4; more > 0; --more) {
          word += "," + pieces[random() % pieces.size()];
        }
      }
      words.push_back(word);
    }
    World world;
    Rewiring wiring(words, world.surroundings());
    const Words notes = wiring.replug_vde_networks();
    REQUIRE(wiring.argv() == words);
    REQUIRE(world.asked == 0);
    REQUIRE(shell_text(words).ends_with('\n'));
  }
}

}  // namespace
}  // namespace driver
