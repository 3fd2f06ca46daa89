#include "netstack/forwards/forwards.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "netstack/base/error.h"
#include "tests/unit/forwards_bed.h"

using namespace tests;

TEST_CASE("clients are refused until the guest listens, then served; the guest sees no probe") {
  ForwardBed bed = make_forward_bed();
  const uint32_t number = bed.add("tcp::0-:22");
  bed.pass_ms(1000);
  CHECK(bed.probe_count > 2);
  CHECK(bed.at(number).answer == ForwardAnswer::kRefused);
  CHECK(Client("127.0.0.1", bed.port(number)).error == ECONNREFUSED);

  bed.listening.insert(22);
  bed.pass_ms(300);
  CHECK(bed.at(number).state == ForwardState::kReady);
  CHECK(bed.ended_probe_count == 1);
  const unsigned probes = bed.probe_count;
  Client client("127.0.0.1", bed.port(number));
  REQUIRE(client.error == 0);
  bed.run();
  CHECK(bed.client_count == 1);
  CHECK(packets::parse_frame(bed.seen.front()).source() == packets::ip("10.0.2.2"));
  client.write("hello");
  bed.run();
  CHECK(bed.heard() == "hello");
  bed.say("welcome");
  CHECK(client.read() == "welcome");
  CHECK(bed.at(number).connections == 1);
  bed.pass_ms(2000);
  CHECK(bed.probe_count == probes);  // who is ready is not asked
  CHECK(bed.events == std::vector<std::string>{"added 1 waiting", "changed 1 ready"});
}

TEST_CASE("a guest that has stopped listening: the client is reset, the next one refused") {
  ForwardBed bed = make_forward_bed();
  bed.listening.insert(22);
  const uint32_t number = bed.add("tcp::0-:22");
  bed.pass_ms(100);
  REQUIRE(bed.at(number).state == ForwardState::kReady);
  bed.listening.clear();
  const Client first("127.0.0.1", bed.port(number));
  REQUIRE(first.error == 0);
  bed.run(8);
  CHECK(first.read() == "RST");
  CHECK(bed.at(number).state == ForwardState::kWaiting);
  CHECK(bed.at(number).answer == ForwardAnswer::kRefused);
  CHECK(bed.at(number).failed == 1);
  CHECK(Client("127.0.0.1", bed.port(number)).error == ECONNREFUSED);
  bed.listening.insert(22);
  bed.pass_ms(300);
  CHECK(Client("127.0.0.1", bed.port(number)).error == 0);
}

TEST_CASE("a connection that goes on keeps nobody from listening again") {
  ForwardBed bed = make_forward_bed();
  bed.listening.insert(22);
  const uint32_t number = bed.add("tcp::0-:22");
  bed.pass_ms(100);
  const Client staying("127.0.0.1", bed.port(number));
  bed.run();
  CHECK(bed.at(number).connections == 1);
  bed.listening.clear();
  const Client refused("127.0.0.1", bed.port(number));
  bed.run(8);
  CHECK(refused.read() == "RST");
  bed.listening.insert(22);
  bed.pass_ms(300);
  CHECK(bed.at(number).state == ForwardState::kReady);
  CHECK(Client("127.0.0.1", bed.port(number)).error == 0);
  CHECK(staying.read().empty());
}

TEST_CASE("a guest that has gone: who waits is reset, its ports close") {
  ForwardBed bed = make_forward_bed();
  bed.listening = {22, 80};
  const uint32_t ssh = bed.add("tcp::0-:22");
  const uint32_t web = bed.add("tcp::0-:80");
  bed.pass_ms(300);
  REQUIRE(bed.at(web).state == ForwardState::kReady);
  bed.there = false;
  const Client client("127.0.0.1", bed.port(ssh));
  REQUIRE(client.error == 0);
  bed.pass_ms(Forwards::kAnswer_ns / kMillisecond_ns - 500);
  CHECK(client.read().empty());
  bed.pass_ms(2500);
  CHECK(client.read() == "RST");
  CHECK(bed.at(ssh).answer == ForwardAnswer::kNoGuest);
  CHECK(Client("127.0.0.1", bed.port(ssh)).error == ECONNREFUSED);
  bed.there = true;  // and is found again
  bed.send(Builder().eth(kGuest, "ff:ff:ff:ff:ff:ff").arp_request(kGuestAddress, "10.0.2.2"));
  bed.pass_ms(300);
  CHECK(bed.at(ssh).state == ForwardState::kReady);
}

TEST_CASE("a guest that is there and busy keeps its clients waiting") {
  ForwardBed bed = make_forward_bed();
  bed.listening.insert(22);
  const uint32_t number = bed.add("tcp::0-:22");
  bed.pass_ms(100);
  bed.silent = true;
  const Client client("127.0.0.1", bed.port(number));
  bed.pass_ms(5000);
  CHECK(client.read().empty());
  CHECK(bed.at(number).state == ForwardState::kReady);
}

TEST_CASE("who is asked, and how often") {
  ForwardBed bed = make_forward_bed();
  bed.there = false;
  SUBCASE("nobody there: a frame in eight seconds, and no probe") {
    const uint32_t number = bed.add("tcp::0-:22");
    bed.pass_ms(30'000);
    CHECK(bed.at(number).answer == ForwardAnswer::kNoGuest);
    CHECK(bed.probe_count == 0);
    CHECK(bed.arp_count >= 3);
    CHECK(bed.arp_count <= 7);
  }
  SUBCASE("a guest that says nothing") {
    const uint32_t number = bed.add("tcp::0-:22");
    bed.there = true;
    bed.silent = true;
    bed.pass_ms(5000);
    CHECK(bed.at(number).answer == ForwardAnswer::kSilent);
    CHECK(bed.probe_count > Forwards::kSilentProbesMax);
  }
  SUBCASE("many ports take turns") {  // within the 1024 descriptors that a shell allows
    bed.there = true;
    bed.add("tcp::20000-20699-:1000");
    bed.pass_ms(200);
    bed.probe_count = 0;
    bed.pass_ms(1000);
    CHECK(bed.probe_count <= 6 * Forwards::kProbesPerRound);
    bed.listening.insert(1699);
    bed.pass_ms(4000);
    CHECK(Client("127.0.0.1", 20'699).error == 0);
    CHECK(Client("127.0.0.1", 20'698).error == ECONNREFUSED);
  }
  SUBCASE("no forward: nothing") {
    bed.pass_ms(10'000);
    CHECK(bed.arp_count == 0);
  }
}

TEST_CASE("an answer that is not to our question opens nothing") {
  ForwardBed bed = make_forward_bed();
  const uint32_t number = bed.add("tcp::0-:22");
  bed.pass_ms(100);
  REQUIRE(bed.probe_count > 0);
  const auto forged = [&](const char* from, uint16_t port, uint32_t ack) {
    bed.send(Builder()
                 .eth(kGuest, kGatewayMac)
                 .ip(from, "10.0.2.2")
                 .tcp(port, Forwards::kProbePort, kTcpSyn | kTcpAck, 1, ack));
  };
  forged(kGuestAddress, 22, 1);
  forged(kGuestAddress, 23, 1);
  forged("10.0.2.16", 22, 1);
  CHECK(bed.at(number).state == ForwardState::kWaiting);
  CHECK(bed.ended_probe_count == 3);
}

TEST_CASE("removal: clients are refused, connections go on") {
  ForwardBed bed = make_forward_bed();
  bed.listening.insert(22);
  const uint32_t number = bed.add("tcp::0-:22");
  bed.pass_ms(100);
  const uint16_t port = bed.port(number);
  const Client client("127.0.0.1", port);
  bed.run();
  CHECK(bed.gateway.forwards().remove(number));
  CHECK_FALSE(bed.gateway.forwards().remove(number));
  CHECK(bed.gateway.forwards().count() == 0);
  CHECK(Client("127.0.0.1", port).error == ECONNREFUSED);
  client.write("still here");
  bed.run();
  CHECK(bed.heard() == "still here");
  CHECK(bed.events.back() == "removed 1 ready");
  CHECK_NOTHROW(bed.add(fmt::format("tcp::{}-:22", port)));
}

TEST_CASE("port 0 is chosen and said, ranges are all or none") {
  ForwardBed bed = make_forward_bed();
  const uint32_t number = bed.add("tcp::0-:22");
  CHECK(bed.port(number) != 0);
  REQUIRE(bed.log.lines.size() == 1);
  CHECK(bed.log.lines[0] ==
        fmt::format("forward tcp:127.0.0.1:{}-:22: the kernel chose the port", bed.port(number)));
  CHECK(bed.gateway.forwards().add(HostForward::parse("tcp::30000-30009-:1")).size() == 10);
  CHECK_THROWS_AS(bed.add("tcp::29990-30000-:1"), Error);
  CHECK(bed.gateway.forwards().count() == 11);
  CHECK_THROWS_AS(bed.add("tcp::1000-6000-:1000"), Error);
  CHECK(bed.gateway.forwards().count() == 11);
}

TEST_CASE("a place that is taken is refused with who has it") {
  ForwardBed bed = make_forward_bed();
  const auto refusal = [&](const std::string& text) -> std::string {
    try {
      bed.add(text);
    } catch (const Error& error) {
      return error.what();
    }
    return "it was taken";
  };
  const std::string self = fmt::format("forwards_test (pid {})", ::getpid());
  sockaddr_storage name{};
  socklen_t bytes = to_sockaddr(packets::ip("127.0.0.1"), 0, name);
  auto* generic = reinterpret_cast<sockaddr*>(&name);
  SUBCASE("TCP, whichever of our addresses is wanted") {
    const Fd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(server.get(), generic, bytes) == 0);
    REQUIRE(::listen(server.get(), 1) == 0);
    ::getsockname(server.get(), generic, &bytes);
    const uint16_t port = ntohs(reinterpret_cast<sockaddr_in&>(name).sin_port);
    for (const char* host : {"127.0.0.1", "0.0.0.0"}) {
      const std::string said = refusal(fmt::format("tcp:{}:{}-:22", host, port));
      CHECK(said.find("Address already in use") != std::string::npos);
      CHECK(said.find(self + " listens there") != std::string::npos);
    }
  }
  SUBCASE("UDP") {
    const Fd server(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(server.get(), generic, bytes) == 0);
    ::getsockname(server.get(), generic, &bytes);
    const uint16_t port = ntohs(reinterpret_cast<sockaddr_in&>(name).sin_port);
    CHECK(refusal(fmt::format("udp::{}-:22", port)).find(self + " has it") != std::string::npos);
  }
  SUBCASE("another forward that waits") {
    const uint32_t first = bed.add("tcp::0-:22");
    const std::string said = refusal(fmt::format("tcp::{}-:23", bed.port(first)));
    const std::string other = fmt::format("tcp:127.0.0.1:{}-:22 has that place", bed.port(first));
    CHECK(said.find(other) != std::string::npos);
    CHECK(refusal(fmt::format("tcp:0.0.0.0:{}-:23", bed.port(first)))
              .find("a socket that does not listen") != std::string::npos);
  }
  SUBCASE("a UNIX socket, while a file left behind is no hindrance") {
    const std::string path = fmt::format("/tmp/lanyard-forwards-{}", ::getpid());
    bed.add(fmt::format("unix:{}-:22", path));
    CHECK(refusal(fmt::format("unix:{}-:23", path)).find("-:22 has that place") !=
          std::string::npos);
    bed.gateway.forwards().remove(1);
    CHECK(::access(path.c_str(), F_OK) != 0);
    {
      const Fd left(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_un unix_name{};
      unix_name.sun_family = AF_UNIX;
      std::memcpy(unix_name.sun_path, path.data(), path.size());
      REQUIRE(::bind(left.get(), reinterpret_cast<sockaddr*>(&unix_name), sizeof unix_name) == 0);
    }
    CHECK(bed.add(fmt::format("unix:{}-:22", path)) == 2);
    bed.gateway.forwards().remove(2);
  }
  SUBCASE("a port the guest's answers could not be told apart by") {
    bed.add("udp::0-:53");
    CHECK(refusal("udp::0-:53").find("leads to that UDP port already") != std::string::npos);
  }
  SUBCASE("an address that is not ours") {
    CHECK(refusal("tcp:192.0.2.1:80-:80").find("choose an address this host has") !=
          std::string::npos);
  }
}

TEST_CASE("IPv6 on either side, and UNIX sockets: the same bytes, the same refusals") {
  ForwardBed bed = make_forward_bed();
  const std::string path = fmt::format("/tmp/lanyard-forwards-{}", ::getpid());
  std::string text;
  bool guest6 = false;
  SUBCASE("IPv6 to IPv6") {
    text = "tcp:[::1]:0-[fec0::15]:22";
    guest6 = true;
  }
  SUBCASE("IPv6 to IPv4") {
    text = "tcp:[::1]:0-:22";
  }
  SUBCASE("IPv4 to IPv6") {
    text = "tcp::0-[fec0::15]:22";
    guest6 = true;
  }
  SUBCASE("IPv4 to the first IPv6 guest") {
    text = "tcp::0-[::]:22";
    guest6 = true;
  }
  SUBCASE("UNIX to IPv4") {
    text = "unix:" + path + "-:22";
  }
  SUBCASE("UNIX to IPv6") {
    text = "unix:" + path + "-[fec0::15]:22";
    guest6 = true;
  }
  CAPTURE(text);
  const uint32_t number = bed.add(text);
  if (text.find("[::]:22") != std::string::npos) {  // it makes itself heard
    bed.send(Builder()
                 .eth(kGuest, kGatewayMac6)
                 .ip(kGuestAddress6, "fec0::2")
                 .ttl(255)
                 .neighbour_solicitation("fec0::2"));
  }
  const auto connect = [&] {
    const HostForward& rule = bed.at(number).rule;
    return rule.is_unix() ? Client(rule.path)
                          : Client(to_string(rule.host_address), rule.host_port);
  };
  bed.pass_ms(500);
  REQUIRE(bed.at(number).answer == ForwardAnswer::kRefused);
  CHECK(connect().error == ECONNREFUSED);
  bed.listening.insert(22);
  bed.pass_ms(300);
  REQUIRE(bed.at(number).state == ForwardState::kReady);
  if (bed.at(number).rule.is_unix()) {
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
  }

  const Client client = connect();
  REQUIRE(client.error == 0);
  bed.run(8);
  REQUIRE(bed.seen.size() > 0);
  CHECK(packets::parse_frame(bed.seen.front()).source() ==
        packets::ip(guest6 ? "fec0::2" : "10.0.2.2"));
  client.write("hello");
  bed.run();
  CHECK(bed.heard() == "hello");
  bed.say("welcome");
  CHECK(client.read() == "welcome");
  ::shutdown(client.socket.get(), SHUT_WR);
  bed.run();
  CHECK((packets::parse_frame(bed.seen.back()).tcp->flags & kTcpFin) != 0);
  CHECK(bed.at(number).connections == 1);

  bed.listening.clear();
  const Client late = connect();
  REQUIRE(late.error == 0);
  bed.run(8);
  CHECK_FALSE(late.read().empty());
  CHECK(connect().error == ECONNREFUSED);
  CHECK(bed.log.lines.size() <= 1);
  bed.gateway.forwards().remove(number);
  CHECK(::access(path.c_str(), F_OK) != 0);
}

TEST_CASE("many clients at once of a UNIX socket") {
  ForwardBed bed = make_forward_bed();
  const std::string path = fmt::format("/tmp/lanyard-forwards-{}", ::getpid());
  bed.listening.insert(22);
  const uint32_t number = bed.add("unix:" + path + "-:22");
  bed.pass_ms(100);
  // The host may give a port twice: of so many it would, and the guest knows clients by their
  // ports.
  constexpr int kClients_count = 300;
  std::vector<Client> clients;
  for (int i = 0; i < kClients_count; ++i) {
    clients.emplace_back(path);
    REQUIRE(clients.back().error == 0);
    if (i % 50 == 49) bed.run(20);
  }
  CHECK(bed.at(number).connections == kClients_count);
  CHECK(bed.at(number).failed == 0);
}

TEST_CASE("UDP is open from the start, both ways") {
  ForwardBed bed = make_forward_bed();
  const char* host = "127.0.0.1";
  const char* guest = kGuestAddress;
  std::string text = "udp::0-:53";
  SUBCASE("IPv4") {}
  SUBCASE("IPv6") {
    host = "::1";
    guest = kGuestAddress6;
    text = "udp:[::1]:0-[fec0::15]:53";
  }
  SUBCASE("the first IPv6 guest") {
    host = "::1";
    guest = kGuestAddress6;
    text = "udp:[::1]:0-[::]:53";
  }
  const bool v6 = packets::ip(guest).v6;
  const uint32_t number = bed.add(text);
  CHECK(bed.at(number).state == ForwardState::kOpen);
  if (v6) {
    bed.send(Builder()
                 .eth(kGuest, kGatewayMac6)
                 .ip(kGuestAddress6, "fec0::2")
                 .ttl(255)
                 .neighbour_advertisement(kGuestAddress6));
  }
  const Client client(host, bed.port(number), SOCK_DGRAM);
  client.write("question");
  bed.pass_ms(200);
  REQUIRE(bed.datagrams.size() == 1);
  const auto asked = packets::parse_frame(bed.datagrams[0]);
  CHECK(asked.text() == "question");
  CHECK(asked.destination() == packets::ip(guest));
  bed.send(Builder()
               .eth(kGuest, v6 ? kGatewayMac6 : kGatewayMac)
               .ip(asked.destination(), asked.source())
               .udp(53, asked.udp->source_port)
               .payload("answer"));
  CHECK(client.read() == "answer");
  CHECK(bed.probe_count == 0);
  CHECK(bed.gateway.forwards().remove(number));
}
