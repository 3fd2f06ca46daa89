#include "netstack/flows/egress_reader.h"

#include <doctest/doctest.h>

#include <functional>

#include "tests/packets/packets.h"

using namespace netstack;

namespace {

constexpr uint16_t kCrowd_count = 1000;  // flows to one place
constexpr uint16_t kPlaces_count = 10;   // others, with one flow each

struct Bed {
  Bed() {
    for (uint16_t port = 0; port < kCrowd_count; ++port) {
      account.open({.key = key("192.0.2.1", port), .guest_mac = packets::mac("52:54:00:00:00:01")});
    }
    for (uint16_t port = 0; port < kPlaces_count; ++port) {
      FlowKey other = key("192.0.2.2", port);
      other.peer_port = port;
      account.open({.key = other, .guest_mac = packets::mac("52:54:00:00:00:01")});
    }
  }
  static FlowKey key(const char* peer, uint16_t guest_port) {
    return {packets::ip("10.0.2.15"), packets::ip(peer), guest_port, 443, Protocol::kUdp};
  }
  // All rows; `between` is called after each step.
  EgressBook::Rows read(const std::function<void()>& between) {
    EgressReader reader(account);
    EgressBook::Rows rows;
    while (!reader.ended()) {
      if (const auto entry = reader.next()) CHECK(rows.insert(*entry).second);
      between();
    }
    return rows;
  }

  ManualClock clock;
  Loop loop{clock};
  FlowAccount account{loop, 2048};
  const EgressBook::Key crowd{"192.0.2.1", 443, Protocol::kUdp, false};
};

}  // namespace

TEST_CASE("the report in steps is the report at once") {
  Bed bed;
  bed.account.end(*bed.account.find(Bed::key("192.0.2.1", 5)), FlowState::kClosed);
  size_t steps_count = 0;
  const auto rows = bed.read([&] { ++steps_count; });
  CHECK(steps_count >= 2 * kCrowd_count / EgressReader::kStep_count);  // sorted, then summed up
  const EgressBook report = bed.account.report();
  REQUIRE(rows.size() == report.rows().size());
  CHECK(rows.size() == 1 + kPlaces_count);
  for (const auto& [key, row] : report.rows()) {
    CHECK(rows.at(key).flows_count == row.flows_count);
    CHECK(rows.at(key).outcomes == row.outcomes);
  }
}

TEST_CASE("a flow that ends while the report is read counts once") {
  for (const int stride : {1, 7, 333, 999}) {
    CAPTURE(stride);
    Bed bed;
    uint16_t port = 0;
    const auto rows = bed.read([&] {
      for (int count = 0; count < 20; ++count) {
        port = static_cast<uint16_t>((port + stride) % kCrowd_count);
        Flow* flow = bed.account.find(Bed::key("192.0.2.1", port));
        if (flow->live()) bed.account.end(*flow, FlowState::kClosed);
      }
    });
    CHECK(rows.size() == 1 + kPlaces_count);
    CHECK(rows.at(bed.crowd).flows_count == kCrowd_count);
    CHECK(rows.at(bed.crowd).count(FlowState::kClosed) > 0);
  }
}

TEST_CASE("flows that are forgotten while the report is read leave the rest as it is") {
  Bed bed;
  uint16_t port = 0;
  const auto rows = bed.read([&] {  // each takes the place of the one before
    if (port == kCrowd_count) return;
    const FlowKey key = Bed::key("192.0.2.1", port++);
    bed.account.end(*bed.account.find(key), FlowState::kClosed);
    bed.account.open({.key = key, .guest_mac = packets::mac("52:54:00:00:00:01")});
  });
  CHECK(rows.size() == 1 + kPlaces_count);
  CHECK(rows.at(bed.crowd).flows_count <= kCrowd_count + port);
}
