// The control socket's HTTP as hostile clients see it: real sockets, a loop that the test turns.
#include "tools/control/http_server.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <vector>

#include "netstack/base/fd.h"
#include "tests/unit/port_fixture.h"
#include "tools/control/json_pieces.h"

using namespace netstack;
using namespace tools;

namespace {

HttpLimits small_limits() {
  HttpLimits limits;
  limits.connection_count_max = 8;
  limits.spare_count_min = 2;
  limits.reader_count_max = 2;
  return limits;
}

class Server {
 public:
  explicit Server(const HttpLimits& limits = {}) {
    router.add("GET", "/short", [](const ControlRequest&) -> ControlReply { return {.json = 7}; });
    router.add("POST", "/echo", [](const ControlRequest& request) -> ControlReply {
      return {.json = request.body};
    });
    router.add("GET", "/long", [](const ControlRequest&) {
      return reply_with_list(std::vector<int>(kLong_count, 3), [](int one) { return one; });
    });
    http.emplace(loop, listen_unix(path), router, events, counters, limits);
  }

  Fd connect() {
    Fd fd = connect_unix(path);
    turn();
    return fd;
  }
  void turn(int turns = 6) {
    for (int i = 0; i < turns; ++i) loop.tick(0);
  }
  void send(const Fd& fd, std::string_view bytes) {
    for (int tries = 0; !bytes.empty() && tries < 1000; ++tries) {
      const ssize_t sent = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
      turn(2);
    }
    turn();
  }
  // What comes until nothing more does; `ended` when that was the end.
  std::string read(const Fd& fd) {
    std::string text;
    ended = false;
    for (int idle = 0; idle < 20;) {
      char bytes[4096];
      const ssize_t got = ::recv(fd.get(), bytes, sizeof bytes, MSG_DONTWAIT);
      ended = got == 0 || (got < 0 && errno == ECONNRESET);
      if (ended) return text;
      if (got > 0) text.append(bytes, static_cast<size_t>(got));
      idle = got > 0 ? 0 : idle + 1;
      turn(1);
    }
    return text;
  }
  std::string ask(const Fd& fd, std::string_view request) {
    send(fd, request);
    return read(fd);
  }

  static constexpr size_t kLong_count = 100'000;

  ManualClock clock;
  Loop loop{clock};
  TemporaryDirectory folder;
  std::string path = folder.file("control");
  Router router;
  EventStream events{clock};
  ControlCounters counters;
  std::optional<HttpServer> http;
  bool ended = false;
};

size_t count_of(const std::string& text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

constexpr std::string_view kShort = "GET /short HTTP/1.1\r\nHost: x\r\n\r\n";
constexpr std::string_view kEvents = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";

}  // namespace

TEST_CASE("requests one after the other, pipelined, and byte by byte") {
  Server server;
  const Fd fd = server.connect();
  CHECK(server.ask(fd, kShort).ends_with("\r\n\r\n7\n"));
  std::string three;
  for (int i = 0; i < 3; ++i) three += kShort;
  CHECK(count_of(server.ask(fd, three), "\r\n\r\n7\n") == 3);
  for (const char byte : kShort) server.send(fd, {&byte, 1});
  CHECK(server.read(fd).ends_with("\r\n\r\n7\n"));
  CHECK(server.counters.requests == 5);
  CHECK(server.counters.connections == 1);
}

TEST_CASE("garbage ends its own connection at most") {
  Server server;
  const Fd other = server.connect();
  for (const std::string& garbage :
       {std::string(5000, '\0'), std::string("GET\r\n\r\n"), std::string("\r\n\r\n\r\n"),
        std::string("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"),
        std::string(
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        std::string("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        "GET / HTTP/1.1\r\n" + std::string(100'000, 'x'),
        "GET /" + std::string(100'000, 'x') + " HTTP/1.1\r\n\r\n"}) {
    CAPTURE(garbage.substr(0, 60));
    const Fd fd = server.connect();
    const std::string answer = server.ask(fd, garbage);
    const bool refused = answer.empty() || answer.starts_with("HTTP/1.1 4") ||
                         answer.starts_with("HTTP/1.0 4") || answer.starts_with("HTTP/1.1 5");
    CHECK(refused);
  }
  CHECK(server.ask(other, kShort).ends_with("7\n"));
}

TEST_CASE("bodies: JSON objects, of a bounded size") {
  Server server;
  const Fd fd = server.connect();
  const auto post = [&](const std::string& body) {
    return server.ask(fd,
                      fmt::format("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}",
                                  body.size(), body));
  };
  CHECK(post("{\"a\": 1}").find("200 OK") != std::string::npos);
  CHECK(post("[1]").find("no JSON object") != std::string::npos);
  CHECK(post("{").find("no JSON object") != std::string::npos);
  CHECK(post("{\"a\": \"\xff\"}").find("no JSON object") != std::string::npos);
  CHECK(post(R"({"a": {"b": 1}, "b": {"b": 2}})").find("200 OK") != std::string::npos);
  for (const char* twice : {R"({"a": 1, "a": 2})", R"({"b": [{"a": 1, "c": {}, "a": 1}]})"}) {
    CHECK(post(twice).find(R"(has \"a\" more than once)") != std::string::npos);
  }
  // Deep nesting is no deep recursion.
  CHECK(post(std::string(60'000, '[')).find("no JSON object") != std::string::npos);
  CHECK(post("{}").find("200 OK") != std::string::npos);
  CHECK(post(std::string(kControlBody_size + 1, ' ')).find("longer than 65536") !=
        std::string::npos);
  CHECK(post("{}").find("200 OK") != std::string::npos);  // the connection stays
}

TEST_CASE("a body that is far too long is refused before it is read, and the connection ended") {
  Server server;
  const std::string head = "POST /echo HTTP/1.1\r\nHost: x\r\n";
  const std::string chunk = "4000\r\n" + std::string(0x4000, ' ') + "\r\n";
  for (const auto& each :
       {std::pair{head + fmt::format("Content-Length: {}\r\n\r\n", kControlRefused_size + 1),
                  "413 "},
        {head + "Content-Length: 131000000\r\n\r\n{}", "413 "},
        {head + "Expect: 100-continue\r\nContent-Length: 131000000\r\n\r\n", "413 "},
        {head + "Transfer-Encoding: chunked\r\n\r\n" + chunk + chunk + chunk + chunk + chunk,
         "413 "},
        {head + "Transfer-Encoding: gzip\r\n\r\n", "501 "}}) {
    const std::string& request = each.first;
    CAPTURE(request.substr(0, 100));
    const Fd fd = server.connect();
    const std::string answer = server.ask(fd, request);
    CHECK(answer.starts_with(fmt::format("HTTP/1.1 {}", each.second)));
    CHECK(answer.find("application/json") != std::string::npos);
    CHECK(answer.find("\"error\"") != std::string::npos);
    CHECK(server.ended);
  }
  CHECK(server.counters.refused == 5);
  const Fd fd = server.connect();
  CHECK(server.ask(fd, head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
            .find("200 OK") != std::string::npos);
}

TEST_CASE("a long reply is made block by block and comes whole") {
  Server server;
  const Fd fd = server.connect();
  const std::string text = server.ask(fd, "GET /long HTTP/1.0\r\n\r\n");
  const auto list = nlohmann::json::parse(text.substr(text.find("\r\n\r\n") + 4));
  CHECK(list.size() == Server::kLong_count);
  const Fd leaving = server.connect();
  server.send(leaving, "GET /long HTTP/1.0\r\n\r\n");
  CHECK(server.counters.requests == 2);
}

TEST_CASE("a client that takes too long over its request is cut; others are served") {
  Server server;
  const Fd slow = server.connect();
  const Fd idle = server.connect();
  const Fd reader = server.connect();
  server.send(reader, kEvents);
  server.send(slow, "GET /sh");
  server.clock.advance_ns(HttpLimits().exchange_ns_max / 2);
  const Fd fresh = server.connect();
  CHECK(server.ask(idle, kShort).ends_with("7\n"));
  server.clock.advance_ns(HttpLimits().exchange_ns_max / 2 + 1);
  server.send(slow, "o");
  server.read(slow);
  CHECK(server.ended);
  CHECK(server.counters.slow_cut == 1);
  CHECK(server.ask(idle, kShort).ends_with("7\n"));
  CHECK(server.ask(fresh, kShort).ends_with("7\n"));
  server.events.publish({{"event", "x"}});
  CHECK(server.read(reader).find("\"event\":\"x\"") != std::string::npos);
}

TEST_CASE("whoever comes is served: the client that waits for the longest gives way") {
  Server server(small_limits());
  std::vector<Fd> silent;
  for (int i = 0; i < 40; ++i) silent.push_back(server.connect());
  const Fd fd = server.connect();
  CHECK(server.ask(fd, kShort).ends_with("7\n"));
  CHECK(server.counters.gave_way >= 34);
  server.read(silent.front());
  CHECK(server.ended);
  server.read(silent.back());
  CHECK(!server.ended);
}

TEST_CASE("readers of events: a limit, kinds, and one that hangs up") {
  Server server(small_limits());
  Fd one = server.connect();
  const Fd two = server.connect();
  const Fd three = server.connect();
  server.send(one, kEvents);
  server.send(two, "GET /events?kind=plug,link-up HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(server.ask(three, kEvents).find("2 clients read events already") != std::string::npos);
  CHECK(server.counters.readers_refused == 1);
  server.events.publish({{"event", "link-down"}});
  server.events.publish({{"event", "plug-came"}});
  server.turn();
  const std::string text = server.read(two);
  CHECK(text.find("\"link-down\"") == std::string::npos);
  CHECK(text.find("\"plug-came\"") != std::string::npos);
  one.reset();
  server.events.publish({{"event", "link-up"}});
  server.turn();
  CHECK(server.ask(three, kEvents).find("200 OK") != std::string::npos);
}

TEST_CASE("a reader of events who asks for what there is not is told what there is") {
  Server server;
  const Fd fd = server.connect();
  for (const auto& [query, part] :
       {std::pair{"kind=lease,bogus",
                  "there is no kind \\\"bogus\\\"; known: capture-incomplete, "},
        {"kind=lease-", "there is no kind \\\"lease-\\\""},
        {"kind=", "there is no kind \\\"\\\""},
        {"from=newest", "there is no from \\\"newest\\\"; known: oldest"},
        {"kinds=lease", "it takes no ?kinds=; known: from, kind"},
        {"kind=lease&from=oldest&kind=link", "?kind= is given more than once; give it once"}}) {
    const std::string text =
        server.ask(fd, fmt::format("GET /events?{} HTTP/1.1\r\nHost: x\r\n\r\n", query));
    CAPTURE(text);
    CHECK(text.starts_with("HTTP/1.1 400 "));
    CHECK(text.find(part) != std::string::npos);
  }
  CHECK(server.counters.refused == 6);
}

TEST_CASE("a reader of events that left in silence takes nobody's place") {
  Server server(small_limits());
  for (int i = 0; i < 50; ++i) {
    const Fd fd = server.connect();
    CHECK(server.ask(fd, kEvents).find("200 OK") != std::string::npos);
  }
  const Fd one = server.connect();
  CHECK(server.ask(one, kEvents).find("200 OK") != std::string::npos);
  server.events.publish({{"event", "a"}});
  CHECK(server.read(one).find("\"a\"") != std::string::npos);
  CHECK(server.counters.readers_refused == 0);
}

TEST_CASE("a reader of events that stops reading is cut, and counted") {
  HttpLimits limits;
  limits.idle_s_max = 1;  // of the library's own clock
  Server server(limits);
  const Fd deaf = server.connect();
  server.send(deaf, kEvents);
  const std::string long_text(8192, 'x');
  const uint64_t begun_ns = SystemClock().monotonic_ns();
  while (server.counters.readers_cut == 0 &&
         SystemClock().monotonic_ns() - begun_ns < 20 * kSecond_ns) {
    server.clock.advance_ns(10 * kMillisecond_ns);
    server.events.publish({{"event", "x"}, {"text", long_text}});
    server.loop.tick(10 * kMillisecond_ns);
  }
  CHECK(server.counters.readers_cut == 1);
  const Fd other = server.connect();
  CHECK(server.ask(other, kShort).ends_with("7\n"));
}
