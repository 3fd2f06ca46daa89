#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>

#include "netstack/base/error.h"
#include "netstack/port/memory_port.h"
#include "tests/unit/control_bed.h"
#include "tests/unit/file_size_limit.h"
#include "tests/unit/port_fixture.h"
#include "tools/control/capture_routes.h"

using namespace netstack;
using namespace tools;
using nlohmann::json;

namespace {

struct WithLoop {
  ManualClock clock;
  Loop loop{clock};
  MemoryLog log;
};
struct World : WithLoop, tests::ControlBed {
  World() : ControlBed(loop, log) {}
  MemoryPort* plug(const char* description = "QEMU") {
    PlugRequest request;
    request.module = "unix prog";
    request.description = description;
    return static_cast<MemoryPort*>(lan.add_plug(std::make_unique<MemoryPort>("plug"), request));
  }
};

std::string read_all(EventStream::Cursor& cursor, size_t part_size = 4096) {
  std::string text;
  std::string part(part_size, '\0');
  while (const size_t size = cursor.read(part.data(), part.size())) text.append(part, 0, size);
  return text;
}

std::vector<json> parse_lines(const std::string& text) {
  std::vector<json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

}  // namespace

TEST_CASE("routes: parameters, unknown paths, wrong methods, and what handlers throw") {
  Router router;
  router.add("GET", "/a/{x}/b/{y}", [](const ControlRequest& request) -> ControlReply {
    return {.json = {request.parameters.at("x"), request.parameters.at("y")}};
  });
  router.add("PUT", "/a/{x}/b/{y}", [](const ControlRequest&) -> ControlReply {
    throw Error(EX_OSERR, "cannot open x: no; do y");
  });
  const auto ask = [&](const char* method, const char* path) {
    return router.answer({.method = method, .path = path});
  };
  CHECK(ask("GET", "/a/1/b/two").json == json::array({"1", "two"}));
  for (const char* path : {"/a/1/b", "/a/1/b/", "/a//b/2", "/a/1/b/2/", "/a/1/b/2/c", "/", "", "a",
                           "//", "/A/1/b/2"}) {
    CAPTURE(path);
    CHECK(ask("GET", path).status == 404);
  }
  CHECK(ask("DELETE", "/a/1/b/2").status == 405);
  CHECK(ask("DELETE", "/a/1/b/2").json["error"] == "cannot DELETE /a/1/b/2: it takes GET, PUT");
  CHECK(ask("PUT", "/a/1/b/2").status == 409);
  CHECK(ask("PUT", "/a/1/b/2").json["error"] == "cannot open x: no; do y");
}

TEST_CASE("ports, their counters and the forwarding table") {
  World world;
  MemoryPort* a = world.plug("first");
  MemoryPort* b = world.plug();
  a->inject(numbered_frame(60, 1));
  const json ports = world.ask("GET", "/ports").json;
  REQUIRE(ports.size() == 2);
  CHECK(ports[0]["number"] == 1);
  CHECK(ports[0]["link"] == "up");
  CHECK(ports[0]["plugs"][0]["description"] == "first");
  CHECK(ports[0]["counters"]["ingress_frames"] == 1);
  CHECK(ports[1]["counters"]["egress_bytes"] == 60);
  CHECK(world.ask("GET", "/ports/2").json == ports[1]);
  for (const char* path : {"/ports/3", "/ports/-1", "/ports/1x", "/ports/99999999999"}) {
    CHECK(world.ask("GET", path).status == 404);
  }
  CHECK(b->take().size() == 1);
  REQUIRE(world.ask("GET", "/fdb").json.size() == 1);
  CHECK(world.ask("GET", "/fdb").json[0]["port"] == 1);
  CHECK(world.ask("DELETE", "/fdb").status == 200);
  CHECK(world.ask("GET", "/fdb").json.empty());
}

TEST_CASE("a link that is down passes nothing either way and counts it") {
  World world;
  MemoryPort* a = world.plug();
  MemoryPort* b = world.plug();
  CHECK(world.ask("PUT", "/ports/1/link", {{"up", "no"}}).status == 400);
  CHECK(world.ask("PUT", "/ports/1/link").status == 400);
  a->inject(numbered_frame(60, 1));
  REQUIRE(world.ask("GET", "/fdb").json.size() == 1);

  CHECK(world.ask("PUT", "/ports/1/link", {{"up", false}}).json["link"] == "down");
  CHECK(world.ask("GET", "/fdb").json.empty());
  a->inject(numbered_frame(60, 2));
  b->inject(numbered_frame(60, 3));
  CHECK(b->take().size() == 1);
  CHECK(a->received_count() == 0);
  CHECK(world.ask("GET", "/ports/1").json["counters"]["drops"]["link-down"] == 2);
  CHECK(world.ask("GET", "/metrics").text->find("reason=\"link-down\"} 2\n") != std::string::npos);

  CHECK(world.ask("PUT", "/ports/1/link", {{"up", true}}).json["link"] == "up");
  a->inject(numbered_frame(60, 4));
  CHECK(b->received_count() == 1);
}

TEST_CASE("captures: several at once, by absolute path, each ended by its id") {
  World world;
  TemporaryDirectory folder;
  const std::string file = folder.file("x.pcap");
  const std::string other = folder.file("y.pcap");
  EventStream::Cursor events(world.events, false, {"capture"});
  CHECK(world.ask("GET", "/captures").json == json::array());
  CHECK(world.ask("POST", "/captures", {{"file", "x.pcap"}}).status == 400);
  CHECK(world.ask("POST", "/captures", {{"file", folder.file("no/such")}}).status == 409);
  CHECK(world.ask("GET", "/captures").json == json::array());
  CHECK(world.ask("POST", "/captures", {{"file", file}}).json["id"] == 1);
  CHECK(world.ask("POST", "/captures", {{"file", file}}).status == 409);
  MemoryPort* port = world.plug();
  port->inject(numbered_frame(60, 1));
  CHECK(world.ask("POST", "/captures", {{"file", other}}).status == 201);
  port->inject(numbered_frame(60, 2));
  CHECK(world.ask("GET", "/captures").json.size() == 2);
  CHECK(world.ask("DELETE", "/captures/7").status == 404);
  CHECK(world.ask("DELETE", "/captures/1").json[0]["file"] == other);
  port->inject(numbered_frame(60, 3));
  CHECK(world.ask("DELETE", "/captures").status == 200);
  port->inject(numbered_frame(60, 4));
  CHECK(std::filesystem::file_size(file) == 24 + 2 * (16 + 60));
  CHECK(std::filesystem::file_size(other) == 24 + 2 * (16 + 60));
  CHECK(world.ask("GET", "/captures").json == json::array());
  CHECK(parse_lines(read_all(events)).size() == 4);
}

TEST_CASE("a capture that misses frames is one event, and says why") {
  World world;
  const TemporaryDirectory folder;
  const std::string file = folder.file("x.pcap");
  EventStream::Cursor events(world.events, false, {"capture-incomplete"});
  json capture = world.ask("POST", "/captures", {{"file", file}}).json;
  tests::check_members(capture, "Capture");
  CHECK(capture["trouble"] == nullptr);
  MemoryPort* port = world.plug();
  std::vector<json> seen;
  std::optional<tests::FileSizeLimit> limit(1000);
  for (uint32_t number = 1; seen.empty() && number < 10'000; ++number) {  // the writer is a thread
    port->inject(numbered_frame(60, number));
    world.loop.tick(0);
    seen = parse_lines(read_all(events));
    ::usleep(1000);
  }
  limit.reset();
  REQUIRE(seen.size() == 1);
  CHECK(seen[0]["id"] == 1);
  CHECK(seen[0]["file"] == file);
  CHECK(seen[0]["why"] == "File too large");
  CHECK(world.ask("GET", "/captures").json[0]["trouble"] == "File too large");
  port->inject(numbered_frame(60, 1));
  CHECK(world.ask("DELETE", "/captures").status == 200);
  CHECK(read_all(events).empty());
}

TEST_CASE("a capture whose reader goes away is not listed any more, and an event says why") {
  World world;
  const TemporaryDirectory folder;
  const std::string fifo = folder.file("fifo");
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  netstack::Fd reader(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK));
  EventStream::Cursor events(world.events, false, {"capture-incomplete", "capture-stopped"});
  CHECK(world.ask("POST", "/captures", {{"file", fifo}}).status == 201);
  reader.reset();
  std::vector<json> seen;
  for (int i = 0; seen.empty() && i < 1000; ++i) {  // the writer is a thread
    world.loop.tick(10 * netstack::kMillisecond_ns);
    seen = parse_lines(read_all(events));
  }
  REQUIRE(seen.size() == 1);
  CHECK(seen[0]["event"] == "capture-stopped");
  CHECK(seen[0]["file"] == fifo);
  CHECK(seen[0]["why"] == "its reader has gone away");
  CHECK(world.ask("GET", "/captures").json == json::array());
  world.plug()->inject(numbered_frame(60, 1));  // nothing is left that would look at it
}

TEST_CASE("a capture takes a filter and a length, and refuses bad ones in one line") {
  World world;
  TemporaryDirectory folder;
  const std::string file = folder.file("x.pcap");
  const auto start = [&](json body) {
    body["file"] = file;
    return world.ask("POST", "/captures", body);
  };
  for (const json& body :
       {json{{"filter", "tcp prot 80"}}, json{{"filter", 80}}, json{{"filter", "host example.org"}},
        json{{"snaplen", 13}}, json{{"snaplen", -1}}, json{{"snaplen", "96"}},
        json{{"snaplen", 262'145}}, json{{"snaplen", 96.5}}}) {
    CAPTURE(body.dump());
    CHECK(start(body).status == 400);
    CHECK(start(body).json["error"].get<std::string>().find('\n') == std::string::npos);
  }
  CHECK(!std::filesystem::exists(file));
  const ControlReply reply = start({{"filter", "ether[0] & 1 == 0"}, {"snaplen", 20U}});
  CHECK(reply.status == 201);
  CHECK(reply.json["filter"] == "ether[0] & 1 == 0");
  CHECK(reply.json["snaplen"] == 20);
  MemoryPort* port = world.plug();
  std::vector<uint8_t> frame = numbered_frame(60, 1);
  frame[0] = 0xff;
  port->inject(frame);
  frame[0] = 0x52;
  port->inject(frame);
  CHECK(world.ask("GET", "/captures").json[0]["left_out"] == 1);
  world.ask("DELETE", "/captures");
  CHECK(std::filesystem::file_size(file) == 24 + 16 + 20);
}

TEST_CASE("a capture that is refused leaves no file, and takes none that was there") {
  World world;
  TemporaryDirectory folder;
  const std::string old = folder.file("old");
  std::ofstream(old) << "old";
  for (const std::string& file : {folder.file("new.pcap"), folder.file("new.pcapng"), old}) {
    const ControlReply refused = [&] {
      const tests::FileSizeLimit limit(10, tests::FileSizeLimit::Writer::kThisThread);
      return world.ask("POST", "/captures", {{"file", file}});
    }();
    CHECK(refused.status == 409);
    CHECK(std::filesystem::exists(file) == (file == old));
  }
  CHECK(world.ask("POST", "/captures", {{"file", folder.file("a") + '\0'}}).status == 400);
  CHECK(!std::filesystem::exists(folder.file("a")));
  CHECK(world.ask("GET", "/captures").json == json::array());
}

TEST_CASE("no filter and no length may be null, as they are told") {
  World world;
  TemporaryDirectory folder;
  const ControlReply reply =
      world.ask("POST", "/captures",
                {{"file", folder.file("x.pcap")}, {"filter", nullptr}, {"snaplen", nullptr}});
  CHECK(reply.status == 201);
  CHECK(reply.json["filter"] == nullptr);
  const ControlReply refused =
      world.ask("POST", "/captures", {{"file", folder.file("y.pcap")}, {"filter", 5}});
  CHECK(refused.status == 400);
  CHECK(refused.json["error"].get<std::string>().find("\"filter\" is no string") !=
        std::string::npos);
}

TEST_CASE("no more captures at once than there is a limit for") {
  World world;
  TemporaryDirectory folder;
  for (size_t at = 0; at < kCaptures_count; ++at) {
    CHECK(world.ask("POST", "/captures", {{"file", folder.file(std::to_string(at))}}).status ==
          201);
  }
  const ControlReply refused = world.ask("POST", "/captures", {{"file", folder.file("more")}});
  CHECK(refused.status == 409);
  CHECK(refused.json["error"].get<std::string>().find("8 captures run already") !=
        std::string::npos);
}

TEST_CASE("events of some kinds only") {
  World world;
  EventStream::Cursor plugs(world.events, false, {"plug"});
  EventStream::Cursor two(world.events, false, {"plug-came", "link-down"});
  EventStream::Cursor near(world.events, false, {"plug-cam"});
  world.plug("x");
  world.ask("PUT", "/ports/1/link", {{"up", false}});
  world.ask("PUT", "/ports/1/link", {{"up", false}});
  CHECK(parse_lines(read_all(plugs)).size() == 2);
  CHECK(parse_lines(read_all(two)).size() == 2);
  CHECK(read_all(near).empty());
}

TEST_CASE("a flood of one kind of event does not drive out the others") {
  ManualClock clock;
  EventStream stream(clock);
  stream.publish({{"event", "rare"}});
  for (size_t i = 0; i < 3 * kEventsKept_count; ++i) stream.publish({{"event", "flood"}});
  clock.advance_ns(kEventWindow_ns);
  stream.publish({{"event", "rare"}});
  EventStream::Cursor all(stream, true);
  const auto events = parse_lines(read_all(all));
  REQUIRE(events.size() == kEventsOfKind_count + 3);
  CHECK(events[0]["event"] == "rare");
  CHECK(events[kEventsOfKind_count + 1]["kind"] == "flood");
  CHECK(events[kEventsOfKind_count + 1]["count"] == 3 * kEventsKept_count - kEventsOfKind_count);
  CHECK(events.back()["event"] == "rare");
  CHECK(stream.suppressed_count() == 3 * kEventsKept_count - kEventsOfKind_count);
}

TEST_CASE("events: in order, from now or from the oldest kept, cut anywhere") {
  World world;
  EventStream::Cursor from_now(world.events, false);
  world.plug("ä\xff");
  const std::string text = read_all(from_now);
  const auto events = parse_lines(text);
  REQUIRE(events.size() == 3);
  CHECK(events[0]["event"] == "port-used");
  CHECK(events[1]["event"] == "plug-came");
  CHECK(events[2]["description"] == "ä\xef\xbf\xbd");
  CHECK(events[2]["number"] == 3);
  EventStream::Cursor in_parts(world.events, true);
  CHECK(read_all(in_parts, 7) == text);
  EventStream::Cursor later(world.events, false);
  CHECK(read_all(later).empty());
}

TEST_CASE("a reader that falls behind is told how many events it missed") {
  ManualClock clock;
  EventStream stream(clock);
  EventStream::Cursor slow(stream, false);
  for (size_t i = 0; i < kEventsKept_count + 5; ++i) {
    clock.advance_ns(kEventWindow_ns / kEventsOfKind_count + 1);
    stream.publish({{"event", "x"}});
  }
  const auto events = parse_lines(read_all(slow));
  REQUIRE(events.size() == kEventsKept_count + 1);
  CHECK(events[0] == json({{"event", "missed"}, {"count", 5}}));
  CHECK(events[1]["number"] == 6);
  CHECK(events.back()["number"] == kEventsKept_count + 5);
}

TEST_CASE("the OpenAPI description has every operation and no other") {
  const json api = api_description();
  std::set<std::string> described;
  for (const auto& [path, methods] : api["paths"].items()) {
    for (const auto& [method, operation] : methods.items()) {
      std::string name = method + ' ' + path;
      std::transform(name.begin(), name.begin() + static_cast<ptrdiff_t>(method.size()),
                     name.begin(), [](unsigned char c) { return std::toupper(c); });
      described.insert(name);
      CHECK(operation.contains("responses"));
    }
  }
  World world;
  std::set<std::string> served;
  const json index = world.ask("GET", "/").json;
  for (const auto& name : index["operations"]) served.insert(name);
  CHECK(fmt::format("{}", fmt::join(described, "\n")) ==
        fmt::format("{}", fmt::join(served, "\n")));
}

TEST_CASE("what is served has the members that the description requires") {
  World world;
  world.plug()->inject(numbered_frame(60, 1));
  const json port = world.ask("GET", "/ports/1").json;
  tests::check_members(port, "Port");
  tests::check_members(port["plugs"][0], "Plug");
  tests::check_members(port["counters"], "Counters");
  tests::check_members(world.ask("GET", "/fdb").json[0], "Station");
  tests::check_members(world.ask("GET", "/nothing").json, "Refusal");
  tests::check_members(world.ask("GET", "/").json, "About");
  tests::check_members(world.ask("GET", "/").json["sandbox"], "Sandbox");
}

TEST_CASE("what only a gateway can tell is refused without one, with what to do") {
  World world;
  const ControlReply reply = world.ask("GET", "/leases");
  CHECK(reply.status == 404);
  CHECK(reply.json["error"] ==
        "cannot GET /leases: this LAN has no gateway; start its switch with --nat");
}
