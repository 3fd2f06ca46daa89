// The fast checksum against the loop RFC 1071 §4.1 prints, and the bounds of finish_checksum.
#include "netstack/base/checksum.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace {

using netstack::Checksum;
using netstack::finish_checksum;
using netstack::internet_checksum;
using Bytes = std::vector<uint8_t>;

uint16_t naive_checksum(std::span<const uint8_t> bytes) {
  uint64_t sum = 0;
  for (size_t at = 0; at < bytes.size(); at += 2) {
    const uint8_t low = at + 1 < bytes.size() ? bytes[at + 1] : uint8_t{0};
    sum += static_cast<uint64_t>(bytes[at] << 8U | low);
  }
  while (sum >> 16U != 0) sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<uint16_t>(~sum);
}

Bytes random_bytes(std::mt19937& random, size_t size) {
  Bytes bytes(size);
  std::ranges::generate(bytes, [&] { return static_cast<uint8_t>(random()); });
  return bytes;
}

uint16_t stored(const Bytes& bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}

}  // namespace

TEST_CASE("the example of RFC 1071 §3") {
  const std::array<uint8_t, 8> bytes{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  CHECK(internet_checksum(bytes) == static_cast<uint16_t>(~0xddf2U));
}

TEST_CASE("every size to 300 and a few large ones agree with the naive loop") {
  std::mt19937 random(1);
  std::vector<size_t> sizes(301);
  for (size_t size = 0; size < sizes.size(); ++size) sizes[size] = size;
  sizes.insert(sizes.end(), {1499, 1500, 1501, 9000, 9001, 65'534, 65'535, 65'553});
  for (const size_t size : sizes) {
    CAPTURE(size);
    const Bytes bytes = random_bytes(random, size);
    CHECK(internet_checksum(bytes) == naive_checksum(bytes));
  }
}

TEST_CASE("any alignment gives the same sum") {
  std::mt19937 random(2);
  const Bytes bytes = random_bytes(random, 1600);
  for (size_t start = 0; start < 16; ++start) {
    const auto piece = std::span(bytes).subspan(start, 1501);
    CHECK(internet_checksum(piece) == naive_checksum(piece));
  }
}

TEST_CASE("carries: all ones, all zero, and none at all") {
  for (const size_t size : {2, 7, 8, 9, 1500, 65'535}) {
    CAPTURE(size);
    const Bytes ones(static_cast<size_t>(size), 0xff);
    CHECK(internet_checksum(ones) == naive_checksum(ones));
    CHECK(internet_checksum(Bytes(static_cast<size_t>(size), 0)) == 0xffff);
  }
  CHECK(internet_checksum({}) == 0xffff);
}

TEST_CASE("pieces at even offsets, in any order, add up to the whole") {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const Bytes bytes = random_bytes(random, 2 + random() % 400);
    const size_t cut = random() % (bytes.size() / 2 + 1) * 2;
    Checksum sum;
    sum.add(std::span(bytes).subspan(cut));
    sum.add(std::span(bytes).first(cut));
    CHECK(sum.finish() == naive_checksum(bytes));
  }
}

TEST_CASE("numbers are added as if they stood in the bytes") {
  Checksum sum;
  sum.add_u16(0x1234);
  sum.add_u32(0xfedcba98);
  const std::array<uint8_t, 6> same{0x12, 0x34, 0xfe, 0xdc, 0xba, 0x98};
  CHECK(sum.finish() == naive_checksum(same));
}

TEST_CASE("finish_checksum stores the sum from its start to the end") {
  std::mt19937 random(4);
  for (const size_t size : {40, 41}) {
    Bytes frame = random_bytes(random, static_cast<size_t>(size));
    const uint16_t expected = naive_checksum(std::span(frame).subspan(14));
    REQUIRE(finish_checksum(frame, 14, 6));
    CHECK(stored(frame, 20) == expected);
  }
}

TEST_CASE("finish_checksum sends a computed zero as all ones in UDP, where zero means none") {
  struct Case {
    uint16_t offset, sent;
  };
  for (const auto [offset, sent] : {Case{6, 0xffff}, Case{16, 0}, Case{2, 0}}) {
    Bytes frame(34, 0);
    frame[14] = 0xff;  // 0xffff sums to 0xffff, whose complement is 0
    frame[15] = 0xff;
    REQUIRE(finish_checksum(frame, 14, offset));
    CHECK(stored(frame, size_t{14} + offset) == sent);
  }
}

TEST_CASE("finish_checksum takes a field that ends with the frame and none beyond") {
  struct Case {
    size_t size;
    uint16_t start;
    uint16_t offset;
    bool inside;
  };
  for (const Case& c : {Case{40, 14, 24, true}, Case{40, 14, 25, false}, Case{40, 14, 26, false},
                        Case{40, 38, 0, true}, Case{40, 39, 0, false}, Case{40, 40, 0, false},
                        Case{40, 65'535, 65'535, false}, Case{40, 0, 65'535, false},
                        Case{1, 0, 0, false}, Case{0, 0, 0, false}}) {
    CAPTURE(c.size);
    CAPTURE(c.start);
    CAPTURE(c.offset);
    const Bytes before(c.size, 0x5a);
    Bytes frame = before;
    CHECK(finish_checksum(frame, c.start, c.offset) == c.inside);
    if (!c.inside) CHECK(frame == before);
  }
}
