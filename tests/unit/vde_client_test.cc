#include "netstack/vde/vde_client.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/stat.h>

#include <chrono>
#include <future>
#include <optional>
#include <thread>

#include "netstack/base/error.h"
#include "netstack/port/cable.h"
#include "netstack/port/lan_directory.h"
#include "netstack/port/memory_port.h"
#include "netstack/vde/vde_listener.h"
#include "netstack/vde/vde_request.h"
#include "tests/unit/port_fixture.h"

using namespace netstack;

namespace {

// A LAN of ours to plug into.
struct Lan {
  explicit Lan(const std::string& name = "lan") : directory(temporary.file(name)) {
    listener = std::make_unique<VdeListener>(loop, host, log, directory);
  }
  ~Lan() {
    host.ports.clear();
    listener.reset();
  }

  // Runs something that waits for the LAN, beside the loop.
  template <typename Work>
  auto beside(Work work) {
    auto running = std::async(std::launch::async, work);
    tick_until(loop, [&] {
      return running.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    });
    return running.get();
  }
  VdePlugWish wish() const {
    VdePlugWish wish;
    wish.where = VdeLocator::parse(directory.path());
    wish.description = "test: plug";
    return wish;
  }

  TemporaryDirectory temporary;
  SystemClock clock;
  Loop loop{clock};
  TestHost host{loop};
  MemoryLog log;
  LanDirectory directory;
  std::unique_ptr<VdeListener> listener;
};

std::string refusal(Lan& lan, const VdePlugWish& wish) {
  return lan.beside([&]() -> std::string {
    try {
      plug_into_vde(wish);
    } catch (const Error& error) {
      return error.what();
    }
    return "plugged in";
  });
}

std::string locator_refusal(const std::string& text) {
  try {
    VdeLocator::parse(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "taken";
}

// A switch that answers what a test wants, once: nothing, an end, or bytes.
class OddSwitch {
 public:
  OddSwitch(const std::string& path, std::optional<Bytes> answer)
      : listener_(listen_unix(path)), answering_([this, answer = std::move(answer)] {
          pollfd waiting{listener_.fd.get(), POLLIN, 0};
          ::poll(&waiting, 1, 10'000);
          const Fd client(::accept(listener_.fd.get(), nullptr, nullptr));
          request.resize(512);
          const ssize_t got = ::recv(client.get(), request.data(), request.size(), 0);
          request.resize(got > 0 ? static_cast<size_t>(got) : 0);
          const auto parsed = parse_vde_request(request);
          if (const auto* whole = std::get_if<VdeRequest>(&parsed)) {
            ::stat(whole->client.sun_path, &client_file);
          }
          if (answer) {
            ::send(client.get(), answer->data(), answer->size(), MSG_NOSIGNAL);
          } else {
            uint8_t byte = 0;
            ::recv(client.get(), &byte, 1, 0);  // until the client gives up
          }
        }) {}
  ~OddSwitch() { answering_.join(); }

  Bytes request;
  struct stat client_file {};  // its socket's file, when its request had come

 private:
  UnixListener listener_;
  std::thread answering_;
};

}  // namespace

TEST_CASE("a plug of ours carries frames both ways and leaves no file") {
  Lan lan;
  VdePlug plug = lan.beside([&] { return plug_into_vde(lan.wish()); });
  REQUIRE(lan.host.ports.size() == 1);
  CHECK(lan.host.ports[0]->name() == "vde 1 test: plug");
  for (const std::string& name : files_in(lan.directory.path())) CHECK(name[0] != '.');

  SystemClock clock;
  Loop loop(clock);
  TestHost host(loop);
  Port& port = *host.add(std::make_unique<VdePort>(loop, host, std::make_shared<DatagramBurst>(),
                                                   std::move(plug), "plug"));
  std::vector<Bytes> frames;
  for (uint32_t i = 0; i < 300; ++i) frames.push_back(numbered_frame(60 + i * 13 % 9000, i));
  send_all(port, frames);
  REQUIRE(tick_until(lan.loop, [&] {
    loop.tick(0);
    return lan.host.received.size() == frames.size();
  }));
  CHECK(lan.host.received == frames);
  send_all(*lan.host.ports[0], frames);
  REQUIRE(tick_until(loop, [&] {
    lan.loop.tick(0);
    return host.received.size() == frames.size();
  }));
  CHECK(host.received == frames);

  lan.host.ports[0]->detach();
  lan.host.ports.clear();  // the switch goes
  REQUIRE(tick_until(loop, [&] { return host.ports.empty(); }));
  CHECK(host.reasons == std::vector<std::string>{""});
}

TEST_CASE("the request is VDE's: 122 bytes and the description without an end") {
  TemporaryDirectory temporary;
  const std::string ctl = temporary.file("ctl");
  VdePlugWish wish;
  {
    OddSwitch odd(ctl, Bytes{});
    wish.where = VdeLocator::parse(temporary.path + "[5]");
    wish.description = "words";
    CHECK_THROWS_AS(plug_into_vde(wish), Error);
    // The answer has ended, so the request is there.
    const auto parsed = parse_vde_request(odd.request);
    REQUIRE(std::holds_alternative<VdeRequest>(parsed));
    const auto& request = std::get<VdeRequest>(parsed);
    CHECK(odd.request.size() == 122 + 5);
    CHECK(request.port_number == 5);
    CHECK_FALSE(request.management);
    CHECK(request.description == "words");
    CHECK(std::string(request.client.sun_path).find(temporary.path + "/.") == 0);
  }
  OddSwitch odd(ctl, Bytes{});
  wish.description = std::string(500, 'x');
  CHECK_THROWS_AS(plug_into_vde(wish), Error);
  CHECK(odd.request.size() == 122 + kVdeDescriptionMax_size);
}

TEST_CASE("a switch that does not answer well is reported in one line") {
  TemporaryDirectory temporary;
  VdePlugWish wish;
  const auto refused = [&](std::optional<Bytes> answer) -> std::string {
    const OddSwitch odd(temporary.file("ctl"), std::move(answer));
    wish.where = VdeLocator::parse(temporary.path);
    try {
      plug_into_vde(wish);
    } catch (const Error& error) {
      return error.what();
    }
    return "plugged in";
  };
  CHECK(refused(Bytes{}).find("it was refused") != std::string::npos);
  CHECK(refused(Bytes(40)).find("it was refused") != std::string::npos);
  CHECK(refused(Bytes(110, 'x')).find("not that of a VDE switch") != std::string::npos);
  Bytes nowhere(110);
  nowhere[0] = AF_UNIX;
  std::memcpy(&nowhere[2], "/nowhere", 8);
  CHECK(refused(nowhere).find("data socket /nowhere does not answer") != std::string::npos);
  std::memset(&nowhere[2], 'x', nowhere.size() - 2);
  CHECK(refused(nowhere).find(std::string(108, 'x') + " does not answer") != std::string::npos);
  wish.answer_ms_max = 50;
  CHECK(refused(std::nullopt).find("no answer within 50 ms") != std::string::npos);
  CHECK(files_in(temporary.path).empty());
}

TEST_CASE("a full LAN refuses, and says where to look") {
  Lan lan;
  lan.host.capacity = 0;
  CHECK(refusal(lan, lan.wish()).find("the switch's log says why") != std::string::npos);
  CHECK(lan.log.count("full") == 1);
}

TEST_CASE("where a switch is: directory, ctl, port, scheme, and what is wrong with it") {
  Lan lan;
  const std::string directory = lan.directory.path();
  CHECK(VdeLocator::parse(directory).ctl == directory + "/ctl");
  CHECK_FALSE(VdeLocator::parse(directory).port_number);
  CHECK(VdeLocator::parse(directory + "[0]").port_number == 0);
  CHECK(VdeLocator::parse(directory + "[7]").port_number == 7);
  CHECK(VdeLocator::parse("vde://" + directory + "[port=7]").port_number == 7);
  CHECK(VdeLocator::parse(directory + "/ctl").directory == directory);
  CHECK(locator_refusal("/no/where").find("is it running?") != std::string::npos);
  CHECK(locator_refusal(directory + "[]").find("a port number") != std::string::npos);
  CHECK(locator_refusal(directory + "[x]").find("a port number") != std::string::npos);
  CHECK(locator_refusal(directory + "[16777216]").find("a port number") != std::string::npos);
  lan.listener.reset();
  VdePlugWish wish;
  wish.where = {directory + "/ctl", directory, {}};
  CHECK_THROWS_WITH_AS(plug_into_vde(wish), doctest::Contains("is the switch running?"), Error);
}

TEST_CASE("where the directory leaves no room, our socket's name goes elsewhere") {
  Lan lan;
  // As long as a path to ctl may be; a client's name behind it would not fit.
  const std::string deep =
      lan.temporary.file(std::string(kSocketPathMax_size - 5 - lan.temporary.path.size(), 'd'));
  REQUIRE(::mkdir(deep.c_str(), 0700) == 0);
  REQUIRE(::link((lan.directory.path() + "/ctl").c_str(), (deep + "/ctl").c_str()) == 0);
  VdePlugWish wish = lan.wish();
  wish.where = VdeLocator::parse(deep);
  const VdePlug plug = lan.beside([&] { return plug_into_vde(wish); });
  CHECK(lan.host.ports.size() == 1);
}

TEST_CASE("a socket is given to a group before the switch is asked; a foreign group is refused") {
  constexpr gid_t kForeign = 54321;
  const TemporaryDirectory temporary;
  const bool may_give_away = ::geteuid() == 0;
  VdePlugWish wish;
  wish.mode = 0770;
  wish.group = may_give_away ? kForeign : ::getegid();
  {
    const OddSwitch odd(temporary.file("ctl"), Bytes{});
    wish.where = VdeLocator::parse(temporary.path);
    CHECK_THROWS_WITH_AS(plug_into_vde(wish), doctest::Contains("it was refused"), Error);
    CHECK(odd.client_file.st_gid == *wish.group);
    CHECK((odd.client_file.st_mode & 0777) == 0770);
  }
  if (may_give_away) return;
  wish.group = kForeign;
  const OddSwitch odd(temporary.file("ctl"), Bytes{});
  CHECK_THROWS_WITH_AS(plug_into_vde(wish), doctest::Contains("cannot have group 54321"), Error);
}

TEST_CASE("port 0 is VDE's management port, which is asked for by the request's type") {
  const TemporaryDirectory temporary;
  const OddSwitch odd(temporary.file("ctl"), Bytes{});
  VdePlugWish wish;
  wish.where = VdeLocator::parse(temporary.path + "[0]");
  CHECK_THROWS_AS(plug_into_vde(wish), Error);
  CHECK(std::get<VdeRequest>(parse_vde_request(odd.request)).management);
}

TEST_CASE("a cable carries frames between two ports and ends once") {
  SystemClock clock;
  Loop loop(clock);
  MemoryLog log;
  std::vector<std::string> ends;
  {
    Cable cable(loop, log, [&](const Port& port, std::string_view why) {
      ends.push_back(port.name() + ": " + std::string(why));
    });
    auto& a = static_cast<MemoryPort&>(*cable.add(std::make_unique<MemoryPort>("a")));
    a.inject(numbered_frame(60, 0));  // into a cable with one end
    auto& b = static_cast<MemoryPort&>(*cable.add(std::make_unique<MemoryPort>("b")));
    CHECK(cable.add(std::make_unique<MemoryPort>("c")) == nullptr);
    const std::vector<Bytes> frames = {numbered_frame(60, 1), numbered_frame(1514, 2)};
    a.inject(frames);
    CHECK(b.take() == frames);
    b.inject(frames);
    CHECK(a.take() == frames);
    a.set_capacity_frames(0);
    b.inject(frames);
    cable.remove(a, "broken");
    cable.remove(b, "also");
    CHECK(ends.empty());
    loop.tick(0);
    loop.tick(0);
    CHECK(ends == std::vector<std::string>{"a: broken"});
  }
  CHECK(log.count("a: frames dropped: 2 queue-full") == 1);
  CHECK(log.lines.size() == 1);
}
