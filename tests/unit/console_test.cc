// The console of vde_switch: what goes in, and the exact bytes that come out.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/console_fixture.h"

using namespace tools;
using netstack::MemoryPort;

namespace {

struct Row {
  std::string_view line;
  std::string reply;
};

void check_rows(ConsoleWorld& world, const std::vector<Row>& rows) {
  for (const Row& row : rows) CHECK_MESSAGE(world.run(row.line) == row.reply, row.line);
}

}  // namespace

TEST_CASE("showinfo has the lines that clients look for") {
  ConsoleWorld world;
  world.clock.advance_ns(7 * netstack::kSecond_ns);
  const std::string expected = fmt::format(
      "0000 DATA END WITH '.'\nVDE switch V.2.3.3\n{}\n\npid {} MAC 00:ff:01:02:03:04 uptime 7\n"
      ".\n1000 Success\n",
      "(C) the Lanyard authors - BSD 3-Clause - Lanyard " LANYARD_VERSION, ::getpid());
  CHECK(world.run("showinfo") == expected);
  CHECK(world.run("  showinfo  ") == expected);
  world.options.management = "/run/m";
  world.options.management_mode = 0660;
  CHECK(world.run("showinfo").ends_with("uptime 7\nmgmt /run/m perm 0660\n.\n1000 Success\n"));
}

TEST_CASE("lines that are no command") {
  ConsoleWorld world;
  check_rows(world, {{"", ""},
                     {"   ", ""},
                     {"# a comment", ""},
                     {"version", kMissing},
                     {"port", kMissing},
                     {"vlan/", kMissing},
                     {"plugin/list", kMissing},
                     {"PORT/print", kMissing}});
}

TEST_CASE("a command is the longest path that the line starts with") {
  ConsoleWorld world;
  check_rows(world,
             {{"port/createauto", framed("Port 0001\n")},
              {"port/create 2", kOk},
              {"port/create2", kExists},
              {"hash/printXYZ", framed("")},
              {"port/showinfo and more", framed("Numports=32\nHUB=false\ncounters=true\n")}});
}

TEST_CASE("help is a table between dashes and a dot") {
  ConsoleWorld world;
  const std::string help = world.run("help");
  CHECK(
      help.starts_with("0000 DATA END WITH '.'\n"
                       "COMMAND PATH       SYNTAX          HELP\n"
                       "------------       --------------  ------------\n"
                       "ds                 ============    "));
  CHECK(help.ends_with(".\n1000 Success\n"));
  for (const char* path : {"port/setvlan", "debug/add", "hash/find", "fstp/print", "vlan/allprint",
                           "shutdown", "load", "port/resetcounter"}) {
    CHECK_MESSAGE(help.find(fmt::format("\n{:<18} ", path)) != std::string::npos, path);
  }
  CHECK(help.find("plugin") == std::string::npos);
  CHECK(world.run("help zz") == framed("COMMAND PATH       SYNTAX          HELP\n"
                                       "------------       --------------  ------------\n"));
}

TEST_CASE("ports by command") {
  ConsoleWorld world;
  const std::string idle =
      " - NOT Unnamed Allocatable\n"
      " Current User: NONE Access Control: (User: NONE - Group: NONE)\n"
      " IN:  pkts          0          bytes                    0\n"
      " OUT: pkts          0          bytes                    0\n";
  check_rows(
      world,
      {{"port/create 5", kOk},
       {"port/create 5", kExists},
       {"port/create 0", kInvalid},
       {"port/create x", kInvalid},
       {"port/create 4097", kInvalid},
       {"port/create -1", kInvalid},
       {"port/print", framed("")},
       {"port/print 5", framed("", "1006 No such device or address")},
       {"port/print 9999", framed("", "1022 Invalid argument")},
       {"port/allprint 5", framed("Port 0005 untagged_vlan=0000 INACTIVE" + idle)},
       {"port/setuser 5 root", kOk},
       {"port/setuser 5 no-such-user", kInvalid},
       {"port/setuser 5 4294967296", kInvalid},
       {"port/setuser 5", kInvalid},
       {"port/setuser 6 root", kNoDevice},
       {"port/setgroup 5 0", kOk},
       {"port/allocatable 5 1", kOk},
       {"port/allocatable 5", kInvalid},
       {"port/allprint", framed("Port 0005 untagged_vlan=0000 INACTIVE - Unnamed Allocatable\n"
                                " Current User: NONE Access Control: (User: root - Group: root)\n"
                                " IN:  pkts          0          bytes                    0\n"
                                " OUT: pkts          0          bytes                    0\n")},
       {"port/setuser 5 3000000000", kOk},
       {"port/setgroup 5 3000000001", kOk},
       {"port/allprint", framed("Port 0005 untagged_vlan=0000 INACTIVE - Unnamed Allocatable\n"
                                " Current User: NONE Access Control: (User: 3000000000 - Group: "
                                "3000000001)\n"
                                " IN:  pkts          0          bytes                    0\n"
                                " OUT: pkts          0          bytes                    0\n")},
       {"port/setuser 5 NONE", kOk},
       {"port/setgroup 5 ANY", kOk},
       {"port/setnumports 5", kInUse},
       {"port/setnumports 64", kOk},
       {"port/setnumports 0", kInvalid},
       {"port/sethub 1", kOk},
       {"port/showinfo", framed("Numports=64\nHUB=true\ncounters=true\n")},
       {"port/sethub 0", kOk},
       {"port/epclose 5 3", kNoDevice},
       {"port/epclose 5", kInvalid},
       {"port/resetcounter", kOk},
       {"port/resetcounter 7", kNoDevice},
       {"port/resetcounter 5000", kInvalid},
       {"port/remove 5", kOk},
       {"port/remove 5", kNoDevice},
       {"port/remove", kNoDevice}});
}

TEST_CASE("a port with endpoints, its counters and its drops") {
  ConsoleWorld world;
  MemoryPort* a = world.plug({.owner = 0, .endpoint_id = 9}, "QEMU user=root pid=1");
  MemoryPort* b = world.plug({.owner = 0, .endpoint_id = 11}, "");
  REQUIRE((a != nullptr && b != nullptr));
  a->inject(numbered_frame(60, 1));
  b->set_capacity_frames(1);
  a->inject(numbered_frame(100, 2));
  CHECK(world.run("port/print 1") ==
        framed("Port 0001 untagged_vlan=0000 ACTIVE - Unnamed Allocatable\n"
               " Current User: root Access Control: (User: NONE - Group: NONE)\n"
               " IN:  pkts          2          bytes                  160\n"
               " OUT: pkts          0          bytes                    0\n"
               "  -- endpoint ID 0009 module unix prog   : QEMU user=root pid=1\n"));
  CHECK(
      world.run("port/print 2") ==
      framed("Port 0002 untagged_vlan=0000 ACTIVE - Unnamed Allocatable\n"
             " Current User: root Access Control: (User: NONE - Group: NONE)\n"
             " IN:  pkts          0          bytes                    0\n"
             " OUT: pkts          1          bytes                   60\n"
             " DROP: pkts         1          queue-full: the receiver did not read fast enough and "
             "its queue was full\n"
             "  -- endpoint ID 0011 module unix prog   : no endpoint description\n"));
  check_rows(world, {{"port/remove 1", kInUse},
                     {"port/resetcounter 1", kOk},
                     {"port/epclose 1 8", kNoDevice},
                     {"port/epclose 1", kInvalid},
                     {"port/epclose 1 x", kInvalid},
                     {"port/epclose 1 0009", kOk},    // as it is printed
                     {"port/epclose 2 0011", kOk}});  // eleven, and not nine
  world.loop.tick(0);
  CHECK(world.run("port/print 2") == framed("", "1006 No such device or address"));
  CHECK(world.run("port/print 1") == framed("", "1006 No such device or address"));
  CHECK(world.run("port/allprint 1") ==
        framed("Port 0001 untagged_vlan=0000 INACTIVE - Unnamed Allocatable\n"
               " Current User: NONE Access Control: (User: NONE - Group: NONE)\n"
               " IN:  pkts          0          bytes                    0\n"
               " OUT: pkts          0          bytes                    0\n"));
}

TEST_CASE("VLANs: printing and refused commands change nothing, the first change does") {
  ConsoleWorld world;
  world.plug({.owner = 0});
  world.plug({.owner = 0});
  check_rows(world, {{"vlan/print", framed("VLAN 0000\n"
                                           " -- Port 0001 tagged=0 active=1 status=Forwarding\n"
                                           " -- Port 0002 tagged=0 active=1 status=Forwarding\n")},
                     {"vlan/print 7", framed("", "1006 No such device or address")},
                     {"vlan/print 9999", framed("", "1022 Invalid argument")},
                     {"vlan/allprint 0", framed("", "1022 Invalid argument")},
                     {"vlan/create x", kInvalid},
                     {"vlan/create", kInvalid},
                     {"vlan/remove 99", kNoDevice},
                     {"vlan/addport 99 1", kNoDevice},
                     {"vlan/delport", kInvalid},
                     {"port/setvlan", kInvalid},
                     {"port/setvlan 1 99", kNoDevice},
                     {"port/setvlan 9 0", kNoDevice},
                     {"port/setvlan 1 0", kOk}});
  CHECK(!world.lan.fabric().vlans().active());
  check_rows(world,
             {{"vlan/create 7", kOk},
              {"vlan/create 7", kExists},
              {"vlan/create 4094", kOk},
              {"vlan/create 4095", kInvalid},
              {"vlan/addport 7 2", kOk},
              {"vlan/addport 7 0x1", kOk},
              {"vlan/addport 7 9", kNoDevice},
              {"vlan/addport 8 1", kNoDevice},
              {"vlan/addport 7", kInvalid},
              {"vlan/addport 7 -1", kInvalid},
              {"vlan/remove 7", kInUse},
              {"vlan/delport 7 1", kOk},
              {"port/setvlan 1 7", kOk},
              {"port/setvlan 1 8", kNoDevice},
              {"port/setvlan 1", kInvalid},
              {"vlan/delport 7 1", kInUse},
              {"port/create 3", kOk},
              {"vlan/addport 7 3", kOk},
              {"vlan/print 7", framed("VLAN 0007\n"
                                      " -- Port 0001 tagged=0 active=1 status=Forwarding\n"
                                      " -- Port 0002 tagged=1 active=1 status=Forwarding\n")},
              {"vlan/allprint 7", framed("VLAN 0007\n"
                                         " -- Port 0001 tagged=0 active=1 status=Forwarding\n"
                                         " -- Port 0002 tagged=1 active=1 status=Forwarding\n"
                                         " -- Port 0003 tagged=1 active=0 status=Learning\n")},
              {"port/setvlan 3 4095", kOk},
              {"vlan/remove 4094", kOk},
              {"vlan/remove 4094", kNoDevice}});
  CHECK(world.run("port/allprint 3").find("Port 0003 untagged_vlan=4095 INACTIVE") !=
        std::string::npos);
  CHECK(world.lan.fabric().vlans().active());
}

TEST_CASE("the forwarding table by command") {
  ConsoleWorld world;
  MemoryPort* a = world.plug({.port_number = 3, .owner = 0});
  check_rows(world, {{"hash/showinfo", framed("Hash size 128\nGC interval 2 secs\n"
                                              "GC expire 100 secs\nMin persistence 0 secs\n")},
                     {"hash/print", framed("")},
                     {"hash/find", framed("", "1022 Invalid argument")},
                     {"hash/find zz", framed("", "1022 Invalid argument")},
                     {"hash/find 52:54:00:00:00:01", framed("", "1019 No such device")}});
  a->inject(numbered_frame(60, 1));
  world.clock.advance_ns(5 * netstack::kSecond_ns);
  const std::string found = world.run("hash/find 52:54:00:00:00:01");
  CHECK(found.find(" Addr: 52:54:00:00:00:01 VLAN 0000 to port: 003  age 5 secs\n") !=
        std::string::npos);
  CHECK(found == world.run("hash/print"));
  CHECK(found == world.run("hash/find 52.54.0.0.0.1"));
  CHECK(found == world.run("hash/find 52.54.0.0.0.1 0"));
  CHECK(found.starts_with("0000 DATA END WITH '.'\nHash: 0"));
  check_rows(world, {{"hash/find 52:54:00:00:00:01 7", framed("", "1019 No such device")},
                     {"hash/setsize 100", kOk},
                     {"hash/setsize 0", kInvalid},
                     {"hash/print", framed("")},
                     {"hash/setgcint 5", kOk},
                     {"hash/setexpire 50", kOk},
                     {"hash/setminper 0", kOk},
                     {"hash/setminper 9", kMissing},
                     {"hash/showinfo", framed("Hash size 128\nGC interval 5 secs\n"
                                              "GC expire 50 secs\nMin persistence 0 secs\n")}});
}

TEST_CASE("the spanning tree says that it is not there") {
  ConsoleWorld world;
  check_rows(
      world,
      {{"fstp/showinfo", framed("MAC 00:ff:01:02:03:04 Priority 32768 (0x8000)\nFSTP=false\n")},
       {"fstp/setfstp 0", framed("")},
       {"fstp/setfstp 1",
        framed("There is no spanning tree here; the switch's storm guard limits what loops can "
               "do\n",
               "1038 Function not implemented")},
       {"fstp/print", framed("FST DATA VLAN 0000 ROOTSWITCH FSTP IS DISABLED\n")},
       {"fstp/print 7", framed("", "1006 No such device or address")},
       {"fstp/setedge 0 1 1", kMissing},
       {"fstp/bonus 0 1 100", kMissing},
       {"port/sethub 1", kOk},
       {"fstp/setfstp 1", framed("Can't use fstp in hub mode\n")}});
}

TEST_CASE("load runs a file and shows what it does") {
  ConsoleWorld world;
  const TemporaryDirectory directory;
  const std::string path = directory.file("script");
  std::ofstream(path) << "vlan/create 9\n# comment\n\nzork\nlogout\nvlan/print 9";
  const std::string echo = fmt::format("vde[{}]: ", path);
  CHECK(world.run("load " + path) == echo + "vlan/create 9\n" + kOk + echo + "# comment\n" + echo +
                                         "\n" + echo + "zork\n" + kMissing + echo + "logout\n" +
                                         echo + "vlan/print 9\n" + framed("VLAN 0009\n") + kOk);
  check_rows(world, {{"load", kNoEntry},
                     {"load /nonexistent", kNoEntry},
                     {"load /dev/null", kOk},
                     {"load /dev/zero", "1027 File too large\n"},
                     {"load " + directory.path, "1021 Is a directory\n"}});
  std::ofstream(path) << "load " << path << "\nload " << path << "\nload " << path << "\n";
  CHECK(world.run("load " + path).find("1007 Argument list too long\n") == std::string::npos);
  std::string wide;
  for (int i = 0; i < 20; ++i) wide += "load " + path + "\n";
  std::ofstream(path) << wide;
  const std::string grown = world.run("load " + path);
  CHECK(grown.find(": stopped here: one load may run 16384 commands") != std::string::npos);
  CHECK(grown.find("1007 Argument list too long\n") != std::string::npos);
  CHECK(grown.size() < kLoadReply_size);
  CHECK(world.run("vlan/create 11") == kOk);
  std::ofstream(path) << "load " << path << "\n";
  CHECK(world.run("load " + path).find("1040 Too many levels of symbolic links\n") !=
        std::string::npos);
  std::ofstream(path) << "shutdown\nvlan/create 10\n";
  CHECK(world.interpreter.run("load " + path, nullptr).next == Next::kShutdown);
  CHECK(!world.lan.fabric().vlans().exists(10));
}
