#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// The pieces of the pcapng format (draft-ietf-opsawg-pcapng) that a capture of ours is made of.
// Integers are in host byte order, which the section header tells.
namespace netstack::pcapng {

// Block types, §4.
constexpr uint32_t kSectionHeader = 0x0a0d0d0a;
constexpr uint32_t kInterfaceDescription = 1;
constexpr uint32_t kInterfaceStatistics = 5;
constexpr uint32_t kEnhancedPacket = 6;

constexpr uint32_t kByteOrderMagic = 0x1a2b3c4d;  // §4.1
constexpr uint16_t kVersionMajor = 1;
constexpr uint16_t kVersionMinor = 0;
constexpr uint64_t kLengthUnknown = UINT64_MAX;  // of a section that is still being written
constexpr uint16_t kLinkTypeEthernet = 1;        // §4.2, LINKTYPE_ETHERNET

// Options: of every block (§3.5), then of one block.
constexpr uint16_t kEndOfOptions = 0;
constexpr uint16_t kComment = 1;
constexpr uint16_t kShbUserApplication = 4;
constexpr uint16_t kIfName = 2;
constexpr uint16_t kIfDescription = 3;
constexpr uint16_t kIfTimeResolution = 9;  // a power of ten: 9 is nanoseconds
constexpr uint16_t kEpbFlags = 2;
constexpr uint16_t kIsbReceived = 4;
constexpr uint16_t kIsbDropped = 5;

constexpr uint32_t kFlagInbound = 1;  // of kEpbFlags, §4.3.1: bits 0 and 1

constexpr size_t kTextBytesMax = 4096;  // of one option; what is longer is cut

// One block (§3.1), appended to `out`: type, total length, body, options, total length again.
//
//   ┌──────┬────────┬───────────┬──────────────────────────────┬────────┐
//   │ type │ length │ body …    │ [code, size, value, pad] … 0 │ length │
//   └──────┴────────┴───────────┴──────────────────────────────┴────────┘
//
// Call number() and data() for the body, then the options, then end().
class Block {
 public:
  Block(std::vector<uint8_t>& out, uint32_t type);

  template <class Integer>
  void number(Integer value) {
    append(&value, sizeof value);
  }
  void data(std::span<const uint8_t> bytes);  // padded to 32 bits
  void time(uint64_t wall_ns);                // high half, low half

  template <class Integer>
  void option(uint16_t code, Integer value) {
    option_bytes(code, &value, sizeof value);
  }
  // Nothing for an empty text. What is not UTF-8, and control characters, become '?'.
  void text(uint16_t code, std::string_view value);

  void end();

 private:
  void append(const void* bytes, size_t size);
  void pad();
  void option_bytes(uint16_t code, const void* value, size_t size);

  std::vector<uint8_t>& out_;
  size_t start_;
  bool has_options_ = false;
};

// `text` as an option may hold it: UTF-8 without control characters, at most kTextBytesMax.
std::string option_text(std::string_view text);

}  // namespace netstack::pcapng
