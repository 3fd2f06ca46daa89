#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

// A pcapng reader for tests, written from draft-ietf-opsawg-pcapng and from nothing of ours: it
// fails the test where a file breaks the format.
namespace tests {

struct PcapngBlock {
  uint32_t type = 0;
  std::vector<uint8_t> body;  // options included

  template <class Integer>
  Integer number(size_t at) const {
    Integer value{};
    REQUIRE(at + sizeof value <= body.size());
    std::memcpy(&value, body.data() + at, sizeof value);
    return value;
  }

  // What stands behind the first `at` bytes: code to value. §3.5
  std::map<uint16_t, std::string> options(size_t at) const {
    std::map<uint16_t, std::string> found;
    if (at == body.size()) return found;
    for (;;) {
      const auto code = number<uint16_t>(at);
      const auto size = number<uint16_t>(at + 2);
      if (code == 0) {
        CHECK(size == 0);
        CHECK(at + 4 == body.size());
        return found;
      }
      const size_t padded = (size + size_t{3}) / 4 * 4;
      REQUIRE(at + 4 + padded <= body.size());
      for (size_t i = size; i < padded; ++i) CHECK(body[at + 4 + i] == 0);
      const bool fresh =
          found
              .emplace(code, std::string(body.begin() + static_cast<ptrdiff_t>(at) + 4,
                                         body.begin() + static_cast<ptrdiff_t>(at + 4 + size)))
              .second;
      CHECK(fresh);
      at += 4 + padded;
    }
  }
};

// §3.1. The bytes are a whole number of blocks.
inline std::vector<PcapngBlock> split_blocks(const std::vector<uint8_t>& bytes) {
  std::vector<PcapngBlock> blocks;
  const auto number = [&](size_t at) {
    uint32_t value = 0;
    REQUIRE(at + 4 <= bytes.size());
    std::memcpy(&value, bytes.data() + at, 4);
    return value;
  };
  for (size_t at = 0; at < bytes.size();) {
    const uint32_t length = number(at + 4);
    REQUIRE(length % 4 == 0);
    REQUIRE(length >= 12);
    REQUIRE(at + length <= bytes.size());
    REQUIRE(number(at + length - 4) == length);
    blocks.push_back({number(at), {bytes.data() + at + 8, bytes.data() + at + length - 4}});
    at += length;
  }
  return blocks;
}

// A file as it means to be read: each frame with its interface's name.
struct PcapngFrame {
  std::string interface;
  std::string comment;
  uint64_t wall_ns;
  std::vector<uint8_t> bytes;
};
struct PcapngStatistics {
  uint64_t received;
  uint64_t dropped;
};
struct PcapngContents {
  std::string application;
  std::vector<std::pair<std::string, std::string>> interfaces;  // name, description
  std::vector<PcapngFrame> frames;
  std::map<std::string, PcapngStatistics> statistics;  // by interface name
};

inline uint64_t read_u64(const std::string& value) {
  REQUIRE(value.size() == 8);
  uint64_t number = 0;
  std::memcpy(&number, value.data(), 8);
  return number;
}

inline uint64_t read_time(const PcapngBlock& block, size_t at) {
  return uint64_t{block.number<uint32_t>(at)} << 32U | block.number<uint32_t>(at + 4);
}

inline PcapngContents read_pcapng(const std::vector<uint8_t>& bytes) {
  PcapngContents contents;
  const auto blocks = split_blocks(bytes);
  for (size_t at = 0; at < blocks.size(); ++at) {
    const PcapngBlock& block = blocks[at];
    REQUIRE((block.type == 0x0a0d0d0a) == (at == 0));
    const auto interface = [&] {
      const auto number = block.number<uint32_t>(0);
      REQUIRE(number < contents.interfaces.size());
      return contents.interfaces[number].first;
    };
    if (block.type == 0x0a0d0d0a) {  // §4.1
      CHECK(block.number<uint32_t>(0) == 0x1a2b3c4d);
      CHECK(block.number<uint16_t>(4) == 1);
      CHECK(block.number<uint16_t>(6) == 0);
      CHECK(block.number<uint64_t>(8) == UINT64_MAX);
      contents.application = block.options(16).at(4);
    } else if (block.type == 1) {  // §4.2
      CHECK(block.number<uint16_t>(0) == 1);
      CHECK(block.number<uint16_t>(2) == 0);
      CHECK(block.number<uint32_t>(4) == 262'144);
      const auto options = block.options(8);
      CHECK(options.at(9) == "\x09");
      CHECK(options.size() == 3);
      contents.interfaces.emplace_back(options.at(2), options.at(3));
    } else if (block.type == 6) {  // §4.3
      const auto size = block.number<uint32_t>(12);
      CHECK(block.number<uint32_t>(16) == size);
      const size_t end = 20 + (size + size_t{3}) / 4 * 4;
      REQUIRE(end <= block.body.size());
      for (size_t i = 20 + size; i < end; ++i) CHECK(block.body[i] == 0);
      auto options = block.options(end);
      CHECK(options.at(2) == std::string("\x01\0\0\0", 4));  // inbound
      CHECK(options.size() == 1 + options.count(1));
      contents.frames.push_back({interface(),
                                 options[1],
                                 read_time(block, 4),
                                 {block.body.data() + 20, block.body.data() + 20 + size}});
    } else {
      REQUIRE(block.type == 5);  // §4.6
      const auto options = block.options(12);
      CHECK(options.size() == 2);
      contents.statistics[interface()] = {read_u64(options.at(4)), read_u64(options.at(5))};
    }
  }
  return contents;
}

inline std::vector<uint8_t> read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

inline PcapngContents read_pcapng(const std::string& path) {
  return read_pcapng(read_bytes(path));
}

}  // namespace tests
