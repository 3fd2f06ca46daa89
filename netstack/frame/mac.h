#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>

namespace netstack {

// A 48-bit MAC address, in wire order.
struct Mac {
  std::array<uint8_t, 6> octets{};

  static Mac read(const uint8_t* bytes) {
    Mac mac;
    std::memcpy(mac.octets.data(), bytes, mac.octets.size());
    return mac;
  }
  void write(uint8_t* bytes) const { std::memcpy(bytes, octets.data(), octets.size()); }

  bool is_group() const { return (octets[0] & 1U) != 0; }  // IEEE 802 3-2014 §3.2.3: I/G bit
  uint64_t bits() const {
    uint64_t value = 0;
    for (const uint8_t octet : octets) value = value << 8U | octet;
    return value;
  }
  auto operator<=>(const Mac&) const = default;
};

constexpr Mac kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

std::string to_string(const Mac& mac);  // "52:54:00:12:34:56"

}  // namespace netstack
