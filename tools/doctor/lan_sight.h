#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tools {

// A running LAN as its control socket tells it at one moment. The doctor may be older or younger
// than the switch: what is not told stays empty, and what is not understood is passed over.
// Ages are in seconds.

struct PlugSight {
  std::string name;         // "vde 1"
  std::string description;  // the peer's own words, any bytes
  bool ready = true;
  uint64_t waiting_count = 0;
};

struct PortSight {
  unsigned number = 0;
  bool link_up = true;
  std::vector<PlugSight> plugs;
  uint64_t ingress_count = 0;
  uint64_t egress_count = 0;
  std::map<std::string, uint64_t> drops;  // by reason

  uint64_t waiting_count() const;
  // Frames that its plugs have taken, without those that still wait for them.
  uint64_t delivered_count() const;
  std::string name() const;  // "port 3 (vde 1)"
};

struct StationSight {
  std::string mac;
  unsigned vid = 0;
  unsigned port = 0;
  double silent_s = 0;
  uint64_t move_count = 0;
  unsigned moved_from = 0;
  double moved_s = 0;  // ago
};

struct LeaseSight {
  std::string mac;
  std::string address;
  std::string name;
  std::string state;  // bound, offered, ended
};

// See netstack::GuestBook, from which these come.
struct SignSight {
  uint64_t count = 0;
  double ago_s = 0;
  std::string address;
  uint64_t number = 0;  // a VID, or bytes
};
struct GuestSight {
  std::string mac;
  double heard_s = 0;
  SignSight dhcp, declined, off_subnet, tagged, tagged_for_gateway, foreign, oversized;
};
struct ClaimSight {
  std::string address;
  std::string mac;
  double heard_s = 0;
  bool within = false;  // the guests' IPv4 network
  uint64_t change_count = 0;
  double changed_s = 0;
  std::string rival;
  double rival_s = 0;
};

struct GatewaySight {
  unsigned port = 0;
  std::string address;
  std::string network;
  uint64_t mtu = 0;
  std::string mac;
};

struct LoopSight {
  bool engaged = false;
  uint64_t episode_count = 0;
  std::vector<unsigned> ports;
};

// What a guest was told is out of reach, and why: netstack::ReasonBook.
struct ReasonSight {
  std::string guest;  // its IP address
  std::string protocol;
  std::string address;
  unsigned port = 0;
  std::string cause;
  std::string fact;
  std::string cure;
  std::string told;
  uint64_t count = 0;
  double ago_s = 0;
};

// One flow of a guest, as the gateway has it on record.
struct FlowSight {
  std::string mac;
  std::string protocol;
  std::string place;  // the name it was looked up by, else the address
  unsigned port = 0;
  std::string state;   // "closed", "unreachable", …
  std::string reason;  // the id of the cause; empty: none is known
  bool inward = false;
  bool question = false;  // to the gateway's DNS
  double begun_s = 0;     // ago
};

struct ForwardSight {
  std::string rule;         // "tcp:127.0.0.1:2222-10.0.2.15:22"
  std::string state;        // waiting, ready
  std::string answer;       // of the guest's port to the last question: "refused", …
  std::string explanation;  // that as a sentence
};

// What the switch has locked itself out of.
struct SandboxSight {
  bool locked = false;
  std::string why_off;
  std::string explanation;        // all of it as a sentence
  std::vector<std::string> gaps;  // walls that could not be built, and why
};

struct CaptureSight {
  uint64_t id = 0;
  std::string file;
  uint64_t lost_count = 0;
  std::string trouble;  // empty: none
};

// Where a guest is: one MAC address behind a port that is not the gateway's.
struct GuestPlace {
  unsigned port = 0;  // where it was heard last
  double silent_s = 0;
  std::vector<unsigned> vids;
};

struct LanSight {
  std::string directory;
  std::string program;                  // "lanyard 0.1.0"
  std::vector<std::string> operations;  // "GET /ports", …
  std::optional<SandboxSight> sandbox;  // nothing from a switch that does not tell
  std::vector<PortSight> ports;
  std::vector<StationSight> stations;
  std::optional<std::vector<LeaseSight>> leases;  // these three: nothing without a gateway, or
  std::optional<GatewaySight> gateway;            // from a switch that does not tell
  std::optional<std::vector<GuestSight>> guests;
  std::vector<ClaimSight> claims;
  std::optional<LoopSight> loop;
  std::vector<CaptureSight> captures;
  std::optional<std::vector<ForwardSight>> forwards;
  std::optional<std::vector<ReasonSight>> reasons;  // told of longest ago first
  std::optional<std::vector<FlowSight>> flows;      // the last opened first

  bool offers(const std::string& operation) const;
  const PortSight* port(unsigned number) const;
  std::map<std::string, GuestPlace> places() const;               // by MAC
  std::optional<unsigned> port_of(const std::string& mac) const;  // as places() has it
  // An address to call the guest by: its lease's, or one that it claims; empty: none is known.
  std::string address_of(const std::string& mac) const;
  std::string name_of(const std::string& mac) const;
  // "52:54:00:00:00:01 (10.0.2.15) on port 3"
  std::string guest_name(const std::string& mac) const;
  // The VLANs in which the gateway is heard; 0: untagged.
  std::vector<unsigned> gateway_vids() const;
};

// A GET request to the control socket: the HTTP status, and the body.
struct LanAnswer {
  int status = 0;
  std::string body;
};
using AskLan = std::function<LanAnswer(const std::string& path)>;

// Throws Error (EX_PROTOCOL) when what answers is no LAN of Lanyard, and what `ask` throws.
LanSight look_at_lan(const std::string& directory, const AskLan& ask);

// A LAN seen twice, some time apart: what stands still shows only so.
struct LanVisit {
  LanSight before;
  LanSight now;
};

}  // namespace tools
