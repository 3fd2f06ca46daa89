// Which filters are taken, and which frames they take.
#include "netstack/capture/frame_filter.h"

#include "netstack/base/error.h"
#include "tests/packets/packets.h"
#include "tests/unit/capture_fixture.h"

using namespace tests;
using packets::Builder;

namespace {

constexpr auto kOne = "52:54:00:00:00:01";
constexpr auto kTwo = "52:54:00:00:00:02";

bool takes(const char* text, const Builder& builder) {
  FrameFilter filter(text);
  const Bytes bytes = builder.build();
  Frame frame;
  iovec body;
  REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
  return filter.takes(frame);
}

std::string refusal(const std::string& text) {
  try {
    FrameFilter filter(text);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("filters take what tcpdump would") {
  const Builder web = Builder().eth(kOne, kTwo).ip("10.0.2.15", "192.0.2.1").tcp(1000, 80, 2);
  for (const char* text :
       {"tcp port 80", "tcp", "host 192.0.2.1", "net 192.0.2.0/24", "ether src 52:54:00:00:00:01",
        "tcp[tcpflags] & tcp-syn != 0", "portrange 79-81 and not udp", "ip[9:1] == 0x6",
        "ip proto 6", "len > 50", "src net 10.0", "(udp or tcp) && dst port 80", "greater 40",
        "net 10.0.2.0 mask 255.255.255.0", ""}) {
    CAPTURE(text);
    CHECK(refusal(text) == "");
    CHECK(takes(text, web));
  }
  for (const char* text : {"udp", "tcp port 81", "host 192.0.2.2", "ip6 host fe80::1", "arp",
                           "vlan", "not tcp", "icmp[icmptype] == icmp-echo", "less 20"}) {
    CAPTURE(text);
    CHECK_FALSE(takes(text, web));
  }
  const Builder tagged =
      Builder().eth(kOne, kTwo).tag(42).ip("10.0.2.15", "192.0.2.1").tcp(1000, 80, 2);
  CHECK(takes("vlan 42 and tcp port 80", tagged));
  CHECK_FALSE(takes("tcp port 80", tagged));  // as with tcpdump: "vlan" moves what comes behind it
}

TEST_CASE("names are refused before anybody is asked, and nonsense in libpcap's words") {
  for (const char* text :
       {"host example.org", "host 3com.example", "host 1-2.example", "host 1-2", "port http",
        "host 1.2.3.4.5", "host de.ad", "gateway 10.0.2.2", "ether host router", "ip proto \\tcp",
        "host a_b", "net loopback", "host be.ef:1x", "1a.be", "portrange http-81"}) {
    CAPTURE(text);
    const std::string why = refusal(text);
    CHECK(why.find("cannot use the filter") == 0);
    CHECK((why.find("names are not looked up") != why.npos ||
           why.find("has a character that no filter has") != why.npos));
    CHECK(why.find('\n') == why.npos);
  }
  CHECK(refusal("tcp prot 80").find("\"prot\" is no keyword") != std::string::npos);
  CHECK(refusal("tcp port").find("syntax error") != std::string::npos);
  CHECK(refusal("port 99999").find("illegal port number") != std::string::npos);
  CHECK(refusal(std::string(kFilterText_size + 1, '(')).find("longer than 1024 bytes") !=
        std::string::npos);
  CHECK(refusal(std::string(kFilterText_size, '(')) != "");
  std::string many = "port 1";
  while (many.size() + 10 < kFilterText_size) many += " or port 1";
  CHECK(refusal(many) == "");
}

TEST_CASE("a frame in pieces is looked at whole") {
  const Bytes bytes = Builder()
                          .eth(kOne, kTwo)
                          .ip("10.0.2.15", "192.0.2.1")
                          .udp(7, 9)
                          .payload(std::string(100, 'x'))
                          .build();
  Frame frame;
  iovec body;
  REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
  std::vector<iovec> pieces;
  for (size_t at = frame.head_bytes; at < bytes.size(); at += 7) {
    pieces.push_back({const_cast<uint8_t*>(&bytes[at]), std::min<size_t>(7, bytes.size() - at)});
  }
  frame.body = pieces;
  CHECK(FrameFilter("udp port 9 and udp[8] == 0x78").takes(frame));
  CHECK_FALSE(FrameFilter("udp port 10").takes(frame));
}

TEST_CASE(
    "a capture with a filter and a length: what is chosen, cut, with its length on the wire") {
  for (const char* name : {"x.pcap", "x.pcapng"}) {
    CAPTURE(name);
    TemporaryDirectory folder;
    ManualClock clock;
    Loop loop{clock};
    MemoryLog log;
    Capture capture(folder.file(name), loop, log, "test", Capture::Writer::kStarts,
                    {.filter = "udp", .snap_bytes = 60});
    const auto send = [&](const Builder& builder) { observe(capture, builder.build()); };
    send(Builder().eth(kOne, kTwo).ip("10.0.2.15", "192.0.2.1").udp(7, 9).payload_bytes(500));
    send(Builder().eth(kOne, kTwo).ip("10.0.2.15", "192.0.2.1").tcp(1000, 80, 2));
    send(Builder().eth(kOne, kTwo).ip("10.0.2.15", "192.0.2.1").udp(7, 9).payload_bytes(1));
    capture.close();
    CHECK(capture.frames_captured() == 2);
    CHECK(capture.frames_left_out() == 1);
    CHECK(capture.frames_lost() == 0);
    CHECK(log.lines.empty());
    const auto records = read_savefile(std::fopen(folder.file(name).c_str(), "rb"), 60);
    REQUIRE(records.size() == 2);
    CHECK(records[0].bytes.size() == 60);
    CHECK(records[0].wire_size == 14 + 20 + 8 + 500);
    CHECK(records[1].bytes.size() == records[1].wire_size);
  }
}

TEST_CASE("a filter that is refused leaves the file as it was") {
  TemporaryDirectory folder;
  ManualClock clock;
  Loop loop{clock};
  MemoryLog log;
  std::FILE* file = std::fopen(folder.file("x.pcap").c_str(), "w");
  std::fputs("mine", file);
  std::fclose(file);
  CHECK_THROWS_AS(Capture(folder.file("x.pcap"), loop, log, "test", Capture::Writer::kStarts,
                          {.filter = "tcp prot 80"}),
                  Error);
  CHECK(std::filesystem::file_size(folder.file("x.pcap")) == 4);
}
