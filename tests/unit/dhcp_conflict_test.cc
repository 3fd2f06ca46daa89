// Addresses that somebody has already, though the table of leases does not know: guests that
// outlived a restart of the switch, and addresses set by hand.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "netstack/wire/arp.h"
#include "tests/unit/names_bed.h"

using namespace tests;

namespace {

constexpr auto kNewcomer = "52:54:00:00:00:09";
constexpr auto kHolder = "52:54:00:00:00:0a";
constexpr auto kLater = "52:54:00:00:00:0b";

// What DHCP sends to guests, and whom the gateway asks for by ARP.
struct ConflictBed : NamesBed {
  void say(const char* mac, const Dhcp& message, const char* source = "0.0.0.0") {
    send(Builder()
             .eth(packets::mac(mac), kBroadcast)
             .ip(source, "255.255.255.255")
             .udp(68, 67)
             .payload(make_dhcp(message)));
    sort();
  }
  void discover(const char* mac) {
    Dhcp message;
    message.client_mac = packets::mac(mac).octets;
    say(mac, message);
  }
  void request(const char* mac, const char* address, bool renewing = false) {
    Dhcp message;
    message.type = DhcpType::kRequest;
    message.client_mac = packets::mac(mac).octets;
    (renewing ? message.client_ip : message.requested_ip.emplace()) = ip(address);
    say(mac, message, renewing ? address : "0.0.0.0");
  }
  void answer_arp(const char* mac, const char* address) {
    send(Builder().eth(mac, kGatewayMac).arp_reply(address, "10.0.2.2"));
    sort();
  }
  void pass(uint64_t time_ns) {
    clock.advance_ns(time_ns);
    run();
    sort();
  }
  void sort() {
    for (const Bytes& frame : take()) {
      const Parsed parsed = packets::parse_frame(frame);
      if (parsed.arp && parsed.arp->operation == kArpRequest)
        asked.push_back(parsed.arp->target_ip);
      if (!parsed.udp || parsed.udp->source_port != 67) continue;
      const auto dhcp = parse_dhcp(parsed.udp->payload);
      REQUIRE(dhcp);
      types.push_back(dhcp->type);
      if (dhcp->type != DhcpType::kNak) given.push_back(dhcp->your_ip);
    }
  }
  // What has come since the last call.
  std::vector<IpAddress> take_asked() { return std::exchange(asked, {}); }
  std::vector<IpAddress> take_given() { return std::exchange(given, {}); }
  std::vector<DhcpType> take_types() { return std::exchange(types, {}); }

  std::vector<IpAddress> asked;
  std::vector<IpAddress> given;
  std::vector<DhcpType> types;
};

using Addresses = std::vector<IpAddress>;

}  // namespace

TEST_CASE("an address that somebody answers for goes to nobody else") {
  ConflictBed bed;
  bed.discover(kNewcomer);  // .15 is that of the guest the bed was begun with
  CHECK(bed.take_asked() == Addresses{ip("10.0.2.16")});
  CHECK(bed.take_given().empty());
  bed.answer_arp(kHolder, "10.0.2.16");
  CHECK(bed.take_asked() == Addresses{ip("10.0.2.17")});
  REQUIRE(bed.log.lines.size() == 1);
  CHECK(bed.log.lines[0] ==
        "DHCP: 52:54:00:00:00:09 is not given 10.0.2.16: 52:54:00:00:00:0a answers for it and has "
        "no lease; the address is left to that one for 600 s. Look for an address set by hand "
        "there, or one leased before this switch began");
  bed.pass(AddressProbe::kWait_ns - 1);
  CHECK(bed.take_given().empty());
  bed.pass(1);
  CHECK(bed.take_given() == Addresses{ip("10.0.2.17")});
  CHECK(bed.gateway->names().dhcp_counters().conflicts == 1);

  // Chosen, and renewed: nothing to ask.
  bed.request(kNewcomer, "10.0.2.17");
  bed.request(kNewcomer, "10.0.2.17", true);
  bed.discover(kNewcomer);
  CHECK(bed.take_given() == Addresses(3, ip("10.0.2.17")));
  CHECK(bed.take_asked().empty());

  // To whom it belongs it is given at once; to another that remembers it, not.
  bed.take_types();
  bed.request(kLater, "10.0.2.16");
  CHECK(bed.take_types() == std::vector{DhcpType::kNak});
  bed.discover(kHolder);
  CHECK(bed.take_given() == Addresses{ip("10.0.2.16")});
  CHECK(bed.take_asked().empty());
}

TEST_CASE("a guest of before the restart keeps its address, however it is heard of") {
  ConflictBed bed;
  SUBCASE("it resolves the gateway") {
    bed.send(Builder().eth(kHolder, kEverybody).arp_request("10.0.2.16", "10.0.2.2"));
  }
  SUBCASE("it goes on sending") {
    bed.send(Builder().eth(kHolder, kGatewayMac).ip("10.0.2.16", "192.0.2.1").udp(9, 9));
  }
  bed.sort();
  bed.discover(kNewcomer);
  CHECK(bed.take_asked() == Addresses{ip("10.0.2.17")});
  bed.pass(AddressProbe::kWait_ns);
  CHECK(bed.take_given() == Addresses{ip("10.0.2.17")});
  bed.request(kHolder, "10.0.2.16", true);
  CHECK(bed.take_given() == Addresses{ip("10.0.2.16")});
  CHECK(bed.take_asked().empty());
}

TEST_CASE("a guest that asks for the address it has: its own answer is no conflict") {
  ConflictBed bed;
  bed.request(kHolder, "10.0.2.40", true);
  CHECK(bed.take_asked() == Addresses{ip("10.0.2.40")});
  CHECK(bed.take_given().empty());
  bed.answer_arp(kHolder, "10.0.2.40");
  CHECK(bed.take_given() == Addresses{ip("10.0.2.40")});
  CHECK(bed.take_types() == std::vector{DhcpType::kAck});

  bed.request(kLater, "10.0.2.41");  // remembered from before, and another has it now
  bed.answer_arp(kHolder, "10.0.2.41");
  CHECK(bed.take_types() == std::vector{DhcpType::kNak});
}

TEST_CASE("a guest that repeats itself while the LAN is asked gets one answer, to the last") {
  ConflictBed bed;
  bed.discover(kNewcomer);
  bed.discover(kNewcomer);
  CHECK(bed.take_asked().size() == 1);
  bed.pass(AddressProbe::kWait_ns);
  CHECK(bed.take_given().size() == 1);
}

TEST_CASE("who was heard first with an address keeps it, and one guest keeps a few") {
  ConflictBed bed;
  bed.send(Builder().eth(kHolder, kEverybody).arp_request("10.0.2.16", "10.0.2.2"));
  for (int number = 16; number < 255; ++number) {
    bed.send(Builder()
                 .eth(kLater, kEverybody)
                 .arp_request(fmt::format("10.0.2.{}", number).c_str(), "10.0.2.2"));
  }
  bed.sort();
  bed.request(kHolder, "10.0.2.16", true);
  CHECK(bed.take_given() == Addresses{ip("10.0.2.16")});
  bed.take_asked();
  bed.discover(kNewcomer);
  CHECK(bed.take_asked() == Addresses{ip("10.0.2.21")});  // .17 to .20 are left to the one
  bed.pass(AddressProbe::kWait_ns);
  CHECK(bed.take_given() == Addresses{ip("10.0.2.21")});
}

TEST_CASE(
    "an offer that was asked about stands, and an address that was given back is asked about") {
  ConflictBed bed;
  bed.discover(kNewcomer);
  bed.pass(AddressProbe::kWait_ns);
  CHECK(bed.take_given() == Addresses{ip("10.0.2.16")});
  bed.answer_arp(kHolder, "10.0.2.16");
  bed.request(kNewcomer, "10.0.2.16");
  CHECK(bed.take_types().back() == DhcpType::kAck);

  bed.take_asked();
  Dhcp release;
  release.type = DhcpType::kRelease;
  release.client_mac = packets::mac(kNewcomer).octets;
  release.client_ip = ip("10.0.2.16");
  bed.say(kNewcomer, release, "10.0.2.16");
  bed.discover(kNewcomer);
  CHECK(bed.take_asked() == Addresses{ip("10.0.2.16")});
}

TEST_CASE("a leased address is its guest's, whoever claims it") {
  ConflictBed bed;
  bed.request(kGuest, "10.0.2.15");
  CHECK(bed.take_given() == Addresses{ip("10.0.2.15")});
  bed.answer_arp(kHolder, "10.0.2.15");
  bed.request(kGuest, "10.0.2.15", true);
  CHECK(bed.take_types() == std::vector{DhcpType::kAck, DhcpType::kAck});
}

TEST_CASE("one that answers for every address, and guests without end, keep no memory busy") {
  ConflictBed bed;
  bed.discover(kNewcomer);
  for (int i = 0; i < 300 && !bed.asked.empty(); ++i) {
    const std::string asked = to_string(bed.take_asked().back());
    bed.answer_arp(kHolder, asked.c_str());
  }
  CHECK(bed.gateway->names().dhcp_counters().conflicts == LeaseTable::kSeenPerGuestMax);
  CHECK(bed.take_given() == Addresses{ip("10.0.2.20")});  // it is believed no more
  CHECK(bed.log.lines.back().find("is believed no more") != std::string::npos);
  for (int i = 0; i < 200; ++i) {
    bed.discover(fmt::format("52:54:01:00:00:{:02x}", i).c_str());
  }
  CHECK(bed.take_asked().size() == AddressProbe::kPendingMax);
  CHECK(bed.take_given().size() == 200 - AddressProbe::kPendingMax);
  bed.pass(AddressProbe::kWait_ns);
  CHECK(bed.take_given().size() == AddressProbe::kPendingMax);
}

TEST_CASE(
    "addresses are shared out by the port that the switch names, also once the LAN was asked") {
  struct Fabric final : Sink {
    void receive(PortId, std::span<Frame>) noexcept override {}
    PortId delivering() const noexcept override { return now; }
    PortId now = 0;
  };
  ConflictBed bed;
  Fabric fabric;
  bed.gateway->detach();
  bed.gateway->attach(fabric, 9);
  const auto discover = [&](PortId from, int guest) {
    fabric.now = from;
    bed.discover(fmt::format("52:54:01:00:00:{:02x}", guest).c_str());
    fabric.now = 0;
    bed.pass(AddressProbe::kWait_ns);
  };
  for (int guest = 0; guest < 200; ++guest) discover(1, guest);
  const LeaseTable& leases = bed.gateway->names().leases();
  CHECK(leases.taken_count(1) == 180);  // of them offers, which are held a while
  CHECK(bed.gateway->names().dhcp_counters().over_limit == 20);
  discover(2, 255);
  CHECK(leases.taken_count(2) == 1);
  bed.gateway->forget_sender(1);
  CHECK(leases.taken_count(1) == 0);
}
