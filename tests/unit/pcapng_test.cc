// The encoder: its bytes against the format, block by block, and what libpcap makes of them.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "netstack/capture/pcapng_block.h"
#include "netstack/capture/pcapng_encoder.h"
#include "tests/unit/capture_fixture.h"
#include "tests/unit/pcapng_fixture.h"

namespace {

using namespace tests;
using Record = RecordRing::Record;

// Integers as the host has them, for expected bytes.
class Expected {
 public:
  template <class Integer>
  Expected& number(Integer value) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof value);
    return *this;
  }
  Expected& u16(uint16_t value) { return number(value); }
  Expected& u32(uint32_t value) { return number(value); }
  Expected& text(std::string_view value) {
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    return *this;
  }
  friend bool operator==(const Bytes& bytes, const Expected& expected) {
    return bytes == expected.bytes_;
  }

 private:
  Bytes bytes_;
};

Bytes to_bytes(std::span<const uint8_t> bytes) {
  return {bytes.begin(), bytes.end()};
}

void append(Bytes& to, std::span<const uint8_t> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void write_file(const std::string& path, std::span<const uint8_t> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  REQUIRE(file.good());
}

// How many frames libpcap reads before the file ends, well or badly.
size_t count_readable(const std::string& path) {
  std::string error(PCAP_ERRBUF_SIZE, '\0');
  pcap_t* pcap = ::pcap_open_offline(path.c_str(), error.data());
  if (pcap == nullptr) return 0;
  size_t count = 0;
  pcap_pkthdr* head = nullptr;
  const u_char* data = nullptr;
  while (::pcap_next_ex(pcap, &head, &data) == 1) ++count;
  ::pcap_close(pcap);
  return count;
}

// Interfaces "a", "b", … of an encoder, on ports 0, 1, …
struct Names {
  explicit Names(size_t count) {
    for (size_t at = 0; at < count; ++at) {
      NamedPort port(name(at));
      struct Nowhere final : Sink {
        void receive(PortId, std::span<Frame>) noexcept override {}
      } sink;
      port.attach(sink, static_cast<PortId>(at));
      REQUIRE(table.number_of(port) == at);
    }
  }
  static std::string name(size_t at) { return std::string(1, static_cast<char>('a' + at)); }
  InterfaceTable table;
};

}  // namespace

TEST_CASE("a file begins with a section header that names the writer") {
  const InterfaceTable table;
  const PcapngEncoder encoder(table, "lanyard 1.2");
  CHECK(to_bytes(encoder.file_header()) == Expected()
                                               .u32(0x0a0d0d0a)
                                               .u32(48)
                                               .u32(0x1a2b3c4d)
                                               .u16(1)
                                               .u16(0)
                                               .number(UINT64_MAX)
                                               .u16(4)
                                               .u16(11)
                                               .text(std::string("lanyard 1.2\0", 12))
                                               .u32(0)
                                               .u32(48));
}

TEST_CASE("an interface is described before its first frame, and a frame has time and direction") {
  const Names names(2);
  PcapngEncoder encoder(names.table, "lanyard");
  const Bytes frame = frame_bytes(15, 0xee);
  constexpr uint64_t kTime_ns = 0x1122334455667788;
  encoder.add({kTime_ns, 1, frame, {}});
  Bytes padded = frame;
  padded.resize(16);
  const std::string_view data(reinterpret_cast<const char*>(padded.data()), padded.size());
  const Expected unit = Expected()
                            .u32(1)  // Interface Description
                            .u32(64)
                            .u16(1)
                            .u16(0)
                            .u32(262'144)
                            .u16(2)  // if_name
                            .u16(1)
                            .text(std::string("b\0\0\0", 4))
                            .u16(3)  // if_description
                            .u16(20)
                            .text("port 1 of the switch")
                            .u16(9)  // if_tsresol
                            .u16(1)
                            .text(std::string("\x09\0\0\0", 4))
                            .u32(0)
                            .u32(64)
                            .u32(6)  // Enhanced Packet
                            .u32(60)
                            .u32(0)  // the file's first interface
                            .u32(0x11223344)
                            .u32(0x55667788)
                            .u32(15)
                            .u32(15)
                            .text(data)
                            .u16(2)  // epb_flags
                            .u16(4)
                            .u32(1)
                            .u32(0)
                            .u32(60);
  CHECK(to_bytes(encoder.bytes()) == unit);
  CHECK(encoder.ends() == std::vector<size_t>{64 + 60});

  SUBCASE("the second frame of an interface has no description; a comment is an option") {
    encoder.settle(1);
    encoder.add({1, 1, frame, "no → way"});
    CHECK(to_bytes(encoder.bytes()) == Expected()
                                           .u32(6)
                                           .u32(76)
                                           .u32(0)
                                           .u32(0)
                                           .u32(1)
                                           .u32(15)
                                           .u32(15)
                                           .text(data)
                                           .u16(2)
                                           .u16(4)
                                           .u32(1)
                                           .u16(1)  // opt_comment
                                           .u16(10)
                                           .text("no → way")
                                           .u16(0)
                                           .u32(0)
                                           .u32(76));
  }
  SUBCASE("a unit that did not get into the file gives its interface's number back") {
    encoder.settle(0);
    encoder.add({kTime_ns, 1, frame, {}});
    CHECK(to_bytes(encoder.bytes()) == unit);
  }
}

TEST_CASE("a file ends with the counts of each interface") {
  const Names names(2);
  PcapngEncoder encoder(names.table, "lanyard");
  const Bytes frame = frame_bytes(60, 1);
  for (int i = 0; i < 3; ++i) encoder.add({1, 0, frame, {}});
  encoder.settle(2);
  const std::vector<uint64_t> seen = {7};
  CHECK(encoder.file_trailer(0x100000002, seen) == Expected()
                                                       .u32(5)
                                                       .u32(52)
                                                       .u32(0)
                                                       .u32(1)
                                                       .u32(2)
                                                       .u16(4)  // isb_ifrecv
                                                       .u16(8)
                                                       .number(uint64_t{7})
                                                       .u16(5)  // isb_ifdrop
                                                       .u16(8)
                                                       .number(uint64_t{5})
                                                       .u32(0)
                                                       .u32(52));
}

TEST_CASE("an interface none of whose frames is in the file is described at its end") {
  const Names names(3);
  PcapngEncoder encoder(names.table, "lanyard");
  const Bytes frame = frame_bytes(60, 1);
  encoder.add({1, 2, frame, {}});
  encoder.settle(1);
  encoder.add({1, 0, frame, {}});
  encoder.settle(0);
  Bytes file = to_bytes(encoder.file_header());
  PcapngEncoder again(names.table, "lanyard");
  again.add({1, 2, frame, {}});
  append(file, again.bytes());
  append(file, encoder.file_trailer(9, std::vector<uint64_t>{1, 4, 1}));
  const PcapngContents contents = read_pcapng(file);
  CHECK(contents.statistics.at("a").dropped == 1);
  CHECK(contents.statistics.at("b").dropped == 4);
  CHECK(contents.statistics.at("c").dropped == 0);
  CHECK(contents.statistics.at("c").received == 1);
}

TEST_CASE("random frames come back through libpcap and through a reader of the format") {
  const TemporaryDirectory dir;
  const Names names(5);
  PcapngEncoder encoder(names.table, "lanyard");
  std::mt19937 random(3);
  Bytes file = to_bytes(encoder.file_header());
  std::vector<PcapngFrame> sent;
  for (int batch = 0; batch < 20; ++batch) {
    for (auto i = random() % 40; i > 0; --i) {
      const size_t size = random() % 8 == 0 ? 14 + random() % 65'540 : 14 + random() % 1500;
      Bytes bytes(size);
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
      const std::string comment(random() % 4 == 0 ? random() % 300 : 0, 'x');
      const auto interface = static_cast<uint16_t>(random() % 5);
      const uint64_t wall_ns = 1'700'000'000 * kSecond_ns + random();
      encoder.add({wall_ns, interface, bytes, comment});
      sent.push_back({Names::name(interface), comment, wall_ns, std::move(bytes)});
    }
    append(file, encoder.bytes());
    encoder.settle(encoder.ends().size());
  }
  append(file, encoder.file_trailer(2, std::vector<uint64_t>(5, 1000)));
  write_file(dir.file("a.pcapng"), file);

  const PcapngContents contents = read_pcapng(file);
  CHECK(contents.application == "lanyard");
  CHECK(contents.interfaces.size() == 5);
  const auto records = read_savefile(dir.file("a.pcapng"));
  REQUIRE(records.size() == sent.size());
  REQUIRE(contents.frames.size() == sent.size());
  for (size_t i = 0; i < sent.size(); ++i) {
    CAPTURE(i);
    CHECK(contents.frames[i].interface == sent[i].interface);
    CHECK(contents.frames[i].comment == sent[i].comment);
    CHECK(contents.frames[i].wall_ns == sent[i].wall_ns);
    CHECK((contents.frames[i].bytes == sent[i].bytes));
    CHECK((records[i].bytes == sent[i].bytes));
    CHECK(records[i].wire_size == sent[i].bytes.size());
    CHECK(records[i].wall_ns == sent[i].wall_ns);
  }
}

TEST_CASE("whatever part of each batch gets into the file, every frame in it has its interface") {
  const Names names(8);
  for (unsigned seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    PcapngEncoder encoder(names.table, "lanyard");
    Bytes file = to_bytes(encoder.file_header());
    std::vector<uint64_t> seen(8);
    std::vector<uint64_t> kept(8);
    std::vector<std::string> expected;
    for (int batch = 0; batch < 10; ++batch) {
      std::vector<size_t> interfaces(random() % 6);
      for (size_t& interface : interfaces) {
        interface = random() % 8;
        ++seen[interface];
        encoder.add({1, static_cast<uint16_t>(interface), frame_bytes(14 + interface, 1), {}});
      }
      const size_t whole =
          random() % 2 == 0 ? interfaces.size() : random() % (interfaces.size() + 1);
      append(file, encoder.bytes().first(whole == 0 ? 0 : encoder.ends()[whole - 1]));
      encoder.settle(whole);
      for (size_t at = 0; at < whole; ++at) {
        expected.push_back(Names::name(interfaces[at]));
        ++kept[interfaces[at]];
      }
    }
    append(file, encoder.file_trailer(1, seen));
    const PcapngContents contents = read_pcapng(file);
    std::vector<std::string> found;
    for (const PcapngFrame& frame : contents.frames) found.push_back(frame.interface);
    CHECK(found == expected);
    for (size_t at = 0; at < 8; ++at) {
      const PcapngStatistics& statistics = contents.statistics.at(Names::name(at));
      CHECK(statistics.received == seen[at]);
      CHECK(statistics.dropped == seen[at] - kept[at]);
    }
  }
}

TEST_CASE("a file that is cut anywhere is readable up to its last whole frame") {
  const TemporaryDirectory dir;
  const Names names(2);
  PcapngEncoder encoder(names.table, "lanyard");
  for (uint16_t i = 0; i < 4; ++i) {
    encoder.add({i, static_cast<uint16_t>(i % 2), frame_bytes(60 + i, 1), "why"});
  }
  Bytes file = to_bytes(encoder.file_header());
  std::vector<size_t> ends = encoder.ends();
  for (size_t& end : ends) end += file.size();
  append(file, encoder.bytes());
  encoder.settle(4);
  append(file, encoder.file_trailer(9, std::vector<uint64_t>{2, 2}));
  for (size_t size = 0; size <= file.size(); ++size) {
    CAPTURE(size);
    write_file(dir.file("cut.pcapng"), std::span(file).first(size));
    const auto whole = std::upper_bound(ends.begin(), ends.end(), size) - ends.begin();
    CHECK(count_readable(dir.file("cut.pcapng")) == static_cast<size_t>(whole));
  }
}

TEST_CASE("an option's text is UTF-8 without control characters, and of limited size") {
  struct Row {
    std::string in;
    std::string out;
  };
  const Row rows[] = {
      {"", ""},
      {"10.0.2.15 → 8.8.8.8", "10.0.2.15 → 8.8.8.8"},
      {"a\nb\tc\x7f", "a?b?c?"},
      {std::string("nul\0nul", 7), "nul?nul"},
      {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
      {"\x80", "?"},                 // nothing to continue
      {"\xc3", "?"},                 // ends too early
      {"\xe2\x82", "??"},            //
      {"\xe2\x82x", "??x"},          //
      {"\xc0\xaf", "??"},            // overlong
      {"\xe0\x80\xaf", "???"},       //
      {"\xed\xa0\x80", "???"},       // a surrogate
      {"\xf4\x90\x80\x80", "????"},  // beyond U+10FFFF
      {"\xf5\x80\x80\x80", "????"},  //
      {"\xc2\x9b", "??"},            // a C1 control character
      {"\xff\xfe", "??"},            //
  };
  for (const Row& row : rows) {
    CAPTURE(row.in);
    CHECK(pcapng::option_text(row.in) == row.out);
  }
  const std::string odd(pcapng::kTextBytesMax - 1, 'x');
  CHECK(pcapng::option_text(odd + "é") == odd);
  CHECK(pcapng::option_text(odd + "yz") == odd + "y");
}

TEST_CASE("the longest comment fits a frame's record and its option") {
  RecordRing ring(256 * 1024);
  const Bytes bytes = frame_bytes(61, 5);
  Frame frame;
  iovec body;
  REQUIRE(view_frame(bytes.data(), bytes.size(), frame, body));
  const std::string text(kCommentBytesMax + 9, 'c');
  REQUIRE(ring.add(1, frame, 4095, text));
  REQUIRE(ring.add(2, frame));
  ring.publish();
  Record record;
  REQUIRE(ring.next(record));
  CHECK(record.interface == 4095);
  CHECK(record.comment == text.substr(0, kCommentBytesMax));
  CHECK(pcapng::option_text(record.comment) == record.comment);
  CHECK(to_bytes(record.bytes) == bytes);
  REQUIRE(ring.next(record));
  CHECK(record.interface == 0);
  CHECK(record.comment.empty());
  CHECK(to_bytes(record.bytes) == bytes);
}
