// Ports with numbers, several endpoints and rights: SharedPort, PortTable, and the options of
// vde_switch that decide about modes.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "netstack/base/error.h"
#include "tests/unit/console_fixture.h"

using namespace tools;
using netstack::DropReason;
using netstack::MemoryPort;
using netstack::PlugRequest;

namespace {

constexpr uid_t kAlice = 4001;  // no account of this machine, so in no group
constexpr uid_t kBob = 4002;

std::string number_of(ConsoleWorld& world, const PlugRequest& request) {
  const netstack::PortChoice choice = world.lan.choose(request);
  return choice.number ? std::to_string(*choice.number) : choice.refusal;
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("endpoints of one port hear the switch and not each other") {
  ConsoleWorld world;
  MemoryPort* one = world.plug({.port_number = 5, .owner = 0, .endpoint_id = 1});
  MemoryPort* two = world.plug({.port_number = 5, .owner = 0, .endpoint_id = 2});
  MemoryPort* far = world.plug({.owner = 0});
  REQUIRE((one != nullptr && two != nullptr && far != nullptr));
  CHECK(world.lan.ports().ports().size() == 2);
  one->inject(numbered_frame(60, 1));
  CHECK(two->received_count() == 0);
  CHECK(far->take() == std::vector<Bytes>{numbered_frame(60, 1)});
  far->inject(numbered_frame(60, 2));
  CHECK(one->take() == std::vector<Bytes>{numbered_frame(60, 2)});
  CHECK(two->take() == std::vector<Bytes>{numbered_frame(60, 2)});
}

TEST_CASE("a shared port counts what endpoints took, also after they have left") {
  ConsoleWorld world;
  MemoryPort* one = world.plug({.port_number = 5, .owner = 0});
  MemoryPort* two = world.plug({.port_number = 5, .owner = 0});
  MemoryPort* far = world.plug({.owner = 0});
  two->set_capacity_frames(1);
  for (uint32_t number = 0; number < 3; ++number) far->inject(numbered_frame(100, number));
  NumberedPort& port = *world.lan.ports().find(5);
  CHECK(port.shared.totals().egress_frames == 3 + 1);
  CHECK(port.shared.totals().egress_bytes == 400);
  CHECK(port.shared.totals().dropped(DropReason::kQueueFull) == 2);
  world.lan.remove(*two, "");
  world.lan.remove(*one, "");
  world.loop.tick(0);
  CHECK(!port.active());
  far->inject(numbered_frame(100, 9));  // to nobody: neither taken nor dropped
  CHECK(port.shared.totals().egress_frames == 4);
  CHECK(port.shared.totals().dropped() == 2);
  port.shared.reset_totals();
  CHECK(port.shared.totals().egress_frames == 0);
  CHECK(port.shared.totals().dropped() == 0);
}

TEST_CASE("a peer that is closed again and again does not hide what another did") {
  ConsoleWorld world;
  MemoryPort* other = world.plug({.owner = 0});
  for (int call = 0; call < 100; ++call) {
    world.lan.remove(*world.plug({.owner = 0}), "it sends garbage");
    world.loop.tick(0);
  }
  CHECK(world.log.lines.size() == netstack::kThrottleLines_count);
  world.lan.remove(*other, "its rings are broken");
  world.loop.tick(0);
  CHECK(world.log.lines.back() == "plug: its rings are broken; its port is closed");
  world.clock.advance_ns(netstack::kThrottleWindow_ns);
  world.lan.remove(*world.plug({.port_number = 2, .owner = 0}), "it sends garbage");
  CHECK(world.log.lines.back() ==
        "plug: it sends garbage; its port is closed (95 lines before this one were not shown)");
}

TEST_CASE("a peer with many ports cannot flood the log") {
  ConsoleWorld world;
  constexpr uint32_t kPorts_count = 30;  // the console's world has 32
  for (int call = 0; call < 10; ++call) {
    for (uint32_t number = 1; number <= kPorts_count; ++number) {
      world.lan.remove(*world.plug({.port_number = number, .owner = 0}), "it sends garbage");
    }
    world.loop.tick(0);
  }
  CHECK(world.log.lines.size() == Lan::kPeerLinesMax);
}

TEST_CASE("a peer that comes, loses frames and leaves again and again cannot flood the log") {
  netstack::ManualClock clock;
  netstack::Loop loop{clock};
  MemoryLog log;
  Lan lan{loop, log};
  for (int call = 0; call < 100; ++call) {
    auto port = std::make_unique<MemoryPort>("plug");
    MemoryPort* plug = port.get();
    REQUIRE(lan.add(std::move(port)) == plug);
    plug->inject(Bytes(10));
    lan.remove(*plug, "");
    loop.tick(0);
  }
  REQUIRE(log.lines.size() == netstack::kThrottleLines_count);
  CHECK(has(log.lines.back(), "plug: "));
}

TEST_CASE("a port that nobody is at keeps its VLANs and forgets its stations") {
  ConsoleWorld world;
  MemoryPort* one = world.plug({.owner = 0});
  REQUIRE(world.run("vlan/create 7") == kOk);
  REQUIRE(world.run("port/setvlan 1 7") == kOk);
  one->inject(numbered_frame(60, 1));
  CHECK(world.lan.fabric().fdb().station_count() == 1);
  world.lan.remove(*one, "");
  world.lan.remove(*one, "asked twice");
  world.loop.tick(0);
  CHECK(world.lan.fabric().fdb().station_count() == 0);
  CHECK(world.lan.fabric().vlans().pvid(1) == 7);
  world.plug({.owner = 0});
  CHECK(world.lan.ports().find(1)->active());
}

TEST_CASE("who keeps account by port is told when a port's last endpoint has left") {
  struct Accountant final : netstack::Port {
    Accountant() : Port("accountant", netstack::kFrameBytesMax) {}
    size_t transmit(std::span<const netstack::Frame> burst) noexcept override {
      return burst.size();
    }
    void forget_sender(netstack::PortId gone) noexcept override { left.push_back(gone); }
    std::vector<netstack::PortId> left;
  };
  ConsoleWorld world;
  auto made = std::make_unique<Accountant>();
  const Accountant& accountant = *made;
  world.lan.add(std::move(made));
  MemoryPort* one = world.plug({.port_number = 5, .owner = 0});
  MemoryPort* two = world.plug({.port_number = 5, .owner = 0});
  world.lan.remove(*one, "");
  world.loop.tick(0);
  CHECK(accountant.left.empty());
  world.lan.remove(*two, "");
  world.loop.tick(0);
  CHECK(accountant.left == std::vector<netstack::PortId>{5});
}

TEST_CASE("which port a plug gets") {
  ConsoleWorld world;
  CHECK(number_of(world, {}) == "1");
  CHECK(number_of(world, {.port_number = 7}) == "7");
  CHECK(number_of(world, {.management = true}) == "0");
  CHECK(has(number_of(world, {.port_number = 4097}), "the last one is 4096"));
  world.plug({.owner = kAlice});
  world.plug({.management = true, .owner = kAlice});
  CHECK(number_of(world, {.owner = kAlice}) == "2");
  REQUIRE(world.run("port/create 2") == kOk);
  CHECK(number_of(world, {.owner = kAlice}) == "3");
  CHECK(number_of(world, {.port_number = 2, .owner = kAlice}) == "2");
  REQUIRE(world.run("port/allocatable 2 1") == kOk);
  CHECK(number_of(world, {.owner = kAlice}) == "2");
  // An active port admits its own user only.
  CHECK(number_of(world, {.port_number = 1, .owner = kAlice}) == "1");
  CHECK(has(number_of(world, {.port_number = 1, .owner = kBob}), "in use by another user"));
  CHECK(has(number_of(world, {.port_number = 1}), "in use by another user"));
}

TEST_CASE("a reserved port admits its user, its group and root") {
  ConsoleWorld world;
  REQUIRE(world.run("port/create 1") == kOk);
  REQUIRE(world.run("port/allocatable 1 1") == kOk);
  REQUIRE(world.run("port/setuser 1 4001") == kOk);
  CHECK(number_of(world, {.owner = kAlice}) == "1");
  CHECK(number_of(world, {.owner = kBob}) == "2");
  CHECK(number_of(world, {.owner = 0}) == "1");
  CHECK(number_of(world, {}) == "2");
  CHECK(has(number_of(world, {.port_number = 1, .owner = kBob}), "reserved for another"));
  REQUIRE(world.run("port/setuser 1 NONE") == kOk);
  CHECK(number_of(world, {.port_number = 1, .owner = kBob}) == "1");
  REQUIRE(world.run("port/setgroup 1 4002") == kOk);
  CHECK(has(number_of(world, {.port_number = 1, .owner = kBob}), "reserved for another"));
}

TEST_CASE("there is no limit at 31, and the last port is the last") {
  ConsoleWorld world;
  for (int count = 0; count < 200; ++count) REQUIRE(world.plug({.owner = 0}) != nullptr);
  CHECK(world.lan.ports().ports().rbegin()->first == 200);
  for (int number = 201; number <= 4096; ++number) {
    REQUIRE(world.lan.ports().create(static_cast<netstack::PortId>(number), false) == 0);
  }
  netstack::PortId number = 0;
  CHECK(world.lan.ports().create_lowest(number, false) == ENOSPC);
  CHECK(world.plug({.owner = 0}) == nullptr);
  CHECK(world.log.count("has no free port") == 1);
}

// --- options
// --------------------------------------------------------------------------------------

namespace {

VdeSwitchOptions parse(std::vector<std::string> words) {
  words.insert(words.begin(), "/usr/bin/vde_switch");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return parse_vde_switch_options(static_cast<int>(words.size()), argv.data());
}

std::string refusal(const std::vector<std::string>& words) {
  try {
    parse(words);
  } catch (const netstack::Error& error) {
    CHECK(error.exit_code() == 1);
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("options in every form getopt takes") {
  for (const auto& words : std::vector<std::vector<std::string>>{{"-s", "/x"},
                                                                 {"-s/x"},
                                                                 {"--sock", "/x"},
                                                                 {"--sock=/x"},
                                                                 {"-sock", "/x"},
                                                                 {"-sock=/x"},
                                                                 {"--so", "/x"},
                                                                 {"--vdesock", "/x"},
                                                                 {"--vde", "/x"},
                                                                 {"--unix", "/x"},
                                                                 {"-u", "/x"}}) {
    CHECK_MESSAGE(parse(words).directory == "/x", words[0]);
  }
  CHECK(parse({"-xdF"}).hub);
  CHECK(parse({"-daemon", "-nostdin"}).daemon);
  CHECK(!parse({"-nos"}).reads_stdin);
  const auto all = parse(
      {"-n",         "0x40", "--macaddr",   "0:ff.1:2:3:a", "--priority", "0x1ffff", "--hashsize",
       "100",        "-p",   "/p",          "-f",           "/f",         "-M",      "/m",
       "--mgmtmode", "660",  "--mgmtgroup", "root",         "-g",         "root",    "-D",
       "3",          "-t",   "a",           "--tap",        "b",          "--mod",   "0644"});
  CHECK(all.port_count == 64);
  CHECK(netstack::to_string(all.mac) == "00:ff:01:02:03:0a");
  CHECK(all.priority == 0xffff);
  CHECK(all.hash_size == 100);
  CHECK(all.pid_file == "/p");
  CHECK(all.rc_file == "/f");
  CHECK(all.management == "/m");
  CHECK(all.management_mode == 0660);
  CHECK((all.management_group == gid_t{0} && all.group == gid_t{0}));
  CHECK(all.taps == std::vector<std::string>{"a", "b"});
  CHECK(all.mode == mode_t{0644});
  CHECK(has(parse({"-p", "p"}).pid_file, "/p"));
  CHECK(parse({"-h"}).answer->status == 1);
  CHECK(parse({"--version"}).answer->status == 0);
}

TEST_CASE("options that cannot be understood are one line") {
  CHECK(has(refusal({"--frobnicate"}), "cannot understand option --frobnicate"));
  CHECK(has(refusal({"-Z"}), "cannot understand option -Z"));
  CHECK(has(refusal({"--m", "1"}), "cannot understand option --m"));  // mode, mod, macaddr, mgmt
  CHECK(has(refusal({"positional"}), "\"positional\": it belongs to no option"));
  CHECK(has(refusal({"-s"}), "cannot use -s: its value is missing"));
  CHECK(has(refusal({"--hub=1"}), "cannot understand option --hub=1"));
  CHECK(has(refusal({"-m", "999"}), "cannot use \"999\" as a file mode"));
  CHECK(has(refusal({"-n", "0"}), "as a number of ports"));
  CHECK(has(refusal({"-g", "no-such-group"}), "group \"no-such-group\": there is none"));
  for (const char* mac : {"1:2:3", "1:2:3:4:5:6:7", "1:2:3:4:5:zz", "100:2:3:4:5:6"}) {
    CHECK_MESSAGE(has(refusal({"--macaddr", mac}), "as a MAC address"), mac);
  }
}

TEST_CASE("modes follow from each other") {
  struct Row {
    std::vector<std::string> words;
    mode_t sockets, directory;
    bool set_group_id;
  };
  for (const Row& row :
       std::vector<Row>{{{}, 0600, 0700, false},
                        {{"--dirmode", "0700"}, 0600, 0700, false},
                        {{"--dirmode", "02770"}, 0660, 02770, false},
                        {{"-m", "0660"}, 0660, 0770, true},
                        {{"-m", "0604"}, 0604, 0705, true},
                        {{"-m", "0660", "--dirmode", "0750"}, 0660, 0750, false}}) {
    const VdeSwitchOptions options = parse(row.words);
    CHECK(options.socket_mode() == row.sockets);
    CHECK(options.lan_directory_mode() == row.directory);
    CHECK(options.wants_set_group_id() == row.set_group_id);
  }
}
