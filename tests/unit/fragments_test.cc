#include "netstack/flows/fragments.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "tests/packets/packets.h"

using netstack::fragment_ipv4;
using netstack::parse_ipv4;
using netstack::Reassembler;
using packets::Builder;
using packets::Bytes;

namespace {

Bytes big_echo(size_t payload_bytes) {
  return Builder()
      .ip("10.0.2.15", "8.8.8.8")
      .echo_request(7, 1)
      .payload_bytes(payload_bytes)
      .build_ip();
}

std::optional<Bytes> add(Reassembler& reassembler, const Bytes& piece, uint64_t now_ns = 1) {
  const auto header = parse_ipv4(piece);
  REQUIRE(header);
  const auto whole = reassembler.add(*header, piece, now_ns);
  if (!whole) return std::nullopt;
  return Bytes(whole->begin(), whole->end());
}

}  // namespace

TEST_CASE("a packet that fits is one piece, unchanged") {
  const Bytes packet = big_echo(100);
  const auto pieces = fragment_ipv4(packet, 1500);
  REQUIRE(pieces.size() == 1);
  CHECK(pieces[0] == packet);
}

TEST_CASE("what was cut comes together again, in every order") {
  std::mt19937 random(1);
  for (const size_t size : {1473UL, 2000UL, 2960UL, 5000UL, 65'507UL}) {
    const Bytes packet = big_echo(size);
    auto pieces = fragment_ipv4(packet, 1500);
    REQUIRE(pieces.size() > 1);
    for (const Bytes& piece : pieces) CHECK(piece.size() <= 1500);
    for (int round = 0; round < 8; ++round) {
      Reassembler reassembler;
      std::optional<Bytes> whole;
      for (const Bytes& piece : pieces) {
        CHECK_FALSE(whole);
        whole = add(reassembler, piece);
      }
      REQUIRE(whole);
      CHECK(*whole == packet);
      CHECK(reassembler.datagram_count() == 0);
      std::ranges::shuffle(pieces, random);
    }
  }
}

TEST_CASE("pieces that overlap or contradict each other end their datagram") {
  const auto pieces = fragment_ipv4(big_echo(4000), 1500);
  Reassembler reassembler;
  CHECK_FALSE(add(reassembler, pieces[0]));
  CHECK(reassembler.datagram_count() == 1);
  CHECK_FALSE(add(reassembler, pieces[0]));
  CHECK(reassembler.datagram_count() == 0);

  // Past the largest packet there can be.
  const Bytes beyond = Builder()
                           .ip("10.0.2.15", "8.8.8.8")
                           .protocol(1)
                           .fragment(65'528, false)
                           .payload_bytes(64)
                           .build_ip();
  CHECK_FALSE(add(reassembler, beyond));
  CHECK(reassembler.datagram_count() == 0);
}

TEST_CASE("memory is bounded and old pieces leave") {
  Reassembler reassembler;
  for (int i = 0; i < 100; ++i) {
    auto piece = fragment_ipv4(big_echo(4000), 1500)[0];
    auto header = parse_ipv4(piece);
    header->id = static_cast<uint16_t>(i);
    netstack::write_ipv4(*header, piece.data());
    CHECK_FALSE(add(reassembler, piece));
  }
  CHECK(reassembler.datagram_count() == Reassembler::kDatagramsMax);
  const auto pieces = fragment_ipv4(big_echo(4000), 1500);
  CHECK_FALSE(add(reassembler, pieces[1], Reassembler::kAge_ns_max + 2));
  CHECK(reassembler.datagram_count() == 1);
}
