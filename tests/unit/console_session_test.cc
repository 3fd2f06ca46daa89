// Sessions of vde_switch's console: what arrives, however it is cut, is answered whole.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/unit/console_fixture.h"
#include "tools/vde_switch/banner.h"
#include "tools/vde_switch/command_splitter.h"
#include "tools/vde_switch/management.h"
#include "tools/vde_switch/session.h"

using namespace tools;
using netstack::Fd;
using netstack::MemoryPort;

TEST_CASE("what was read is cut into commands at line feeds, and nowhere else") {
  struct Case {
    std::vector<std::string_view> reads;
    std::vector<std::string> commands;
    bool tail;
  };
  for (const Case& c : std::vector<Case>{
           {{"showinfo\n"}, {"showinfo"}, false},
           {{"showinfo"}, {}, true},
           {{"showinfo\nhelp ds\n"}, {"showinfo", "help ds"}, false},
           {{"\n\n"}, {"", ""}, false},
           {{"zo", "rk\n"}, {"zork"}, false},
           {{"port/create 5"}, {}, true},
           {{"vlan/create 4", "2\nvlan/print\n"}, {"vlan/create 42", "vlan/print"}, false},
           {{"port/cr", "eate 5\nvlan/pr", "int\n"}, {"port/create 5", "vlan/print"}, false},
           {{"showinfo\nlogout"}, {"showinfo"}, true},
           {{"# half a comment"}, {}, true}}) {
    CommandSplitter splitter;
    std::vector<std::string> commands;
    for (const std::string_view read : c.reads) {
      splitter.feed(read);
      while (auto line = splitter.next()) commands.push_back(line->text);
    }
    CHECK_MESSAGE(commands == c.commands, c.reads[0]);
    CHECK_MESSAGE(splitter.has_tail() == c.tail, c.reads[0]);
  }
}

TEST_CASE("a line that is too long is refused whole, however it comes") {
  CommandSplitter splitter;
  for (int i = 0; i < 3; ++i) {
    splitter.feed(std::string(kCommandLine_size, 'x'));
    CHECK(!splitter.next());
  }
  splitter.feed("y\nhelp\n");
  CHECK(splitter.next()->too_long);
  CHECK(splitter.next()->text == "help");
  CHECK(!splitter.next());
}

// --- sessions -----------------------------------------------------------------------------------

namespace {

// A session over a socket pair, whose prompts go where those of -M go. It ends with a logout as
// those do, unless it has a console's tail.
struct Talk {
  explicit Talk(ConsoleWorld& the_world, Session::Tail tail = Session::Tail::kEndsWithSilence)
      : world(the_world) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    ours = Fd(ends[0]);
    session = std::make_unique<Session>(
        world.interpreter, world.state, Fd(ends[1]),
        Session::Habits{{},
                        [this, tail](Next next) {
                          ended.push_back(next);
                          return next == Next::kShutdown || tail == Session::Tail::kEndsWithSilence;
                        },
                        [] {},
                        tail});
  }
  std::string heard() {
    std::string out;
    char bytes[65536];
    for (;;) {
      const ssize_t got = ::recv(ours.get(), bytes, sizeof bytes, MSG_DONTWAIT);
      if (got > 0) {
        out.append(bytes, static_cast<size_t>(got));
      } else {
        const size_t before = session->replies().size();
        world.loop.tick(0);
        if (session->replies().size() == before) return out;
      }
    }
  }

  ConsoleWorld& world;
  Fd ours;
  std::unique_ptr<Session> session;
  std::vector<Next> ended;
};

size_t count_of(std::string_view what, std::string_view in) {
  size_t count = 0;
  for (size_t at = in.find(what); at != std::string_view::npos; at = in.find(what, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("every command of one read is answered, with a prompt each") {
  ConsoleWorld world;
  Talk talk(world);
  talk.session->take("zork\n\nport/create 1\nport/crea");
  CHECK(talk.heard() == kMissing + kVdePrompt + kVdePrompt + kOk + kVdePrompt);
  talk.session->take("te 2\n");
  CHECK(talk.heard() == kOk + kVdePrompt);
}

TEST_CASE("a command without line feed is answered when nothing follows it") {
  ConsoleWorld world;
  Talk talk(world);
  const auto pass = [&](uint64_t time_ns) {
    world.clock.advance_ns(time_ns);
    world.loop.tick(0);
  };
  talk.session->take("zork");
  CHECK(talk.heard().empty());
  pass(kCommandTail_ns);
  CHECK(talk.heard() == kMissing + kVdePrompt);
  talk.session->take("vlan/create 4");  // in pieces, each within the time
  pass(kCommandTail_ns - 1);
  talk.session->take("2");
  pass(kCommandTail_ns - 1);
  CHECK(talk.heard().empty());
  talk.session->take("\nvlan/print 42");
  pass(kCommandTail_ns);
  CHECK(talk.heard() == kOk + kVdePrompt + framed("VLAN 0042\n") + kVdePrompt);
  CHECK(!world.lan.fabric().vlans().exists(4));
  talk.session->take("vlan/create");
  talk.session->take_end();
  CHECK(talk.heard() == kInvalid + kVdePrompt);
}

TEST_CASE("a console that has sent line feeds ends its commands with them") {
  ConsoleWorld world;
  Talk talk(world, Session::Tail::kEndsAsLinesBefore);
  talk.session->take("zork");
  world.clock.advance_ns(kCommandTail_ns);
  world.loop.tick(0);
  CHECK(talk.heard() == kMissing + kVdePrompt);
  talk.session->take("\nvlan/create 4");
  world.clock.advance_ns(100 * kCommandTail_ns);
  world.loop.tick(0);
  CHECK(talk.heard() == kVdePrompt);
  talk.session->take("2\nvlan/create 4");
  CHECK(talk.heard() == kOk + kVdePrompt);
  talk.session->take("3");
  talk.session->take_end();
  CHECK(talk.heard() == kOk + kVdePrompt);
  for (const int vid : {42, 43}) CHECK(world.lan.fabric().vlans().exists(vid));
  CHECK(!world.lan.fabric().vlans().exists(4));
}

TEST_CASE("nothing of a session runs behind its end, and a console does not end with a logout") {
  ConsoleWorld world;
  SUBCASE("logout of a management session") {
    Talk talk(world);
    talk.session->take("logout\nport/create 5\nshutdown\n");
    talk.session->take_end();
    CHECK(talk.ended == std::vector{Next::kLogout});
    CHECK(talk.heard().empty());
    CHECK(!talk.session->wants_input());
    CHECK(world.lan.ports().find(5) == nullptr);
  }
  SUBCASE("a console") {
    Talk talk(world, Session::Tail::kEndsAsLinesBefore);
    talk.session->take("logout\nport/create 5\nshutdown\nport/create 6\n");
    CHECK(talk.ended == std::vector{Next::kLogout, Next::kShutdown});
    CHECK(talk.heard() == kOk + kVdePrompt);
    CHECK(world.lan.ports().find(5) != nullptr);
    CHECK(world.lan.ports().find(6) == nullptr);
  }
}

TEST_CASE("a session that does not read is not served, and misses nothing but events") {
  ConsoleWorld world;
  for (int number = 1; number <= 200; ++number) {
    world.plug({.owner = 0}, "a plug with some description, so that the listing gets long");
  }
  Talk talk(world);
  const std::string listing = world.run("port/print");
  talk.session->take("debug/add\n");
  std::string burst;
  for (int i = 0; i < 100; ++i) burst += "port/print\n";
  talk.session->take(burst);
  CHECK(!talk.session->wants_input());
  CHECK(talk.session->replies().size() <= kReplyBacklog_size + listing.size() + 10);
  for (int number = 0; number < 20; ++number) world.plug({.owner = 0});
  CHECK(world.log.lines.empty());
  const std::string heard = talk.heard();
  CHECK(count_of("0000 DATA END WITH '.'\n", heard) == 100);
  CHECK(count_of("\n.\n1000 Success\n\nvde$ ", heard) == 100);
  CHECK(world.log.count("missed 60 events because it did not read") == 1);
  talk.session->take("help zz\n");
  CHECK(count_of("COMMAND PATH", talk.heard()) == 1);
}

TEST_CASE("events come as they happen, to those who asked") {
  ConsoleWorld world;
  Talk talk(world);
  Talk deaf(world);
  talk.session->take("debug/add zz\ndebug/add\ndebug/add port\ndebug/del fstp\n");
  CHECK(talk.heard() ==
        kInvalid + kVdePrompt + kOk + kVdePrompt + kExists + kVdePrompt + kOk + kVdePrompt);
  MemoryPort* a = world.plug({.port_number = 3, .owner = 0, .endpoint_id = 12}, "D");
  CHECK(talk.heard() ==
        "3021 port/+ 03\n3031 port/ep/+ Port 03 FD 12\n3023 port/descr Port 03 FD 12 -> \"D\"\n");
  a->inject(numbered_frame(60, 1));
  CHECK(talk.heard() == "3011 hash/+ 52:54:00:00:00:01 VLAN 00:00 Port 3\n");
  world.lan.remove(*a, "");
  world.loop.tick(0);
  CHECK(talk.heard() ==
        "3032 port/ep/- Port 03 FD 12\n3012 hash/- 52:54:00:00:00:01 VLAN 00:00 Port 3\n"
        "3022 port/- 03\n");
  talk.session->take("debug/list hash\ndebug/del hash\ndebug/del hash\ndebug/list hash/+\n");
  const std::string head =
      "CATEGORY               TAG STATUS HELP\n"
      "------------           --- ------ ----\n";
  const std::string came = "hash/+                 011 {} a station was learned\n";
  CHECK(talk.heard() == framed(head + fmt::format(fmt::runtime(came), "ON    ") +
                               "hash/-                 012 ON     a station was forgotten\n") +
                            kVdePrompt + kOk + kVdePrompt + kNoEntry + kVdePrompt +
                            framed(head + fmt::format(fmt::runtime(came), "OFF   ")) + kVdePrompt);
  CHECK(deaf.heard().empty());
  CHECK(world.run("debug/list zz") == framed(head, "1002 No such file or directory"));
}

TEST_CASE("a management socket greets, prompts and ends sessions") {
  ConsoleWorld world;
  const TemporaryDirectory directory;
  world.options.management = directory.file("mgmt");
  int shutdowns = 0;
  {
    Management management(world.interpreter, world.state, [&] { ++shutdowns; });
    const auto hear = [&](int fd) {
      std::string out;
      tick_until(world.loop, [&] {
        char bytes[4096];
        const ssize_t got = ::recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got > 0) out.append(bytes, static_cast<size_t>(got));
        return got == 0 || out.ends_with("$ ");
      });
      return out;
    };
    const auto say = [](int fd, std::string_view text) {
      REQUIRE(::send(fd, text.data(), text.size(), MSG_NOSIGNAL) ==
              static_cast<ssize_t>(text.size()));
    };
    const Fd client = netstack::connect_unix(world.options.management);
    CHECK(hear(client.get()) == banner() + kVdePrompt);
    say(client.get(), "port/create 3");
    world.loop.tick(0);
    world.clock.advance_ns(kCommandTail_ns);
    CHECK(hear(client.get()) == kOk + kVdePrompt);
    say(client.get(), "logout\n");
    CHECK(hear(client.get()) == "9999 END OF SESSION");
    CHECK(at_end(client.get()));

    const Fd half = netstack::connect_unix(world.options.management);
    CHECK(hear(half.get()) == banner() + kVdePrompt);
    say(half.get(), "port/create");
    ::shutdown(half.get(), SHUT_WR);
    CHECK(hear(half.get()) == kInvalid + kVdePrompt);

    const Fd last = netstack::connect_unix(world.options.management);
    CHECK(hear(last.get()) == banner() + kVdePrompt);
    CHECK(shutdowns == 0);
    say(last.get(), "shutdown\n");
    CHECK(hear(last.get()) == "9999 END OF SESSION");
    CHECK(shutdowns == 1);
  }
  CHECK(files_in(directory.path).empty());
}
