#include "tools/control/reason_routes.h"

#include "netstack/base/error.h"
#include "tools/control/json_pieces.h"

namespace tools {

namespace {

using netstack::ReasonBook;
using nlohmann::json;

json describe_target(const netstack::Target& target) {
  json out = {{"protocol", netstack::protocol_name(target.protocol)},
              {"address", to_string(target.address)},
              {"port", nullptr}};
  using netstack::Protocol;
  if (target.protocol == Protocol::kUdp || target.protocol == Protocol::kTcp) {
    out["port"] = target.port;
  }
  if (target.protocol == Protocol::kOther) out["number"] = target.port;
  return out;
}

json describe_icmp(const netstack::IcmpWords& words, bool v6) {
  json out = {{"type", words.type}, {"code", words.code}};
  if (is_too_big(v6, words)) out["mtu"] = words.rest;
  return out;
}

json describe_reason(const ReasonBook::Entry& entry) {
  const netstack::Reason& reason = entry.reason;
  const auto name = [](int errno_value) { return netstack::errno_name(errno_value); };
  return {{"cause", netstack::cause_row(reason.cause).id},
          {"guest", to_string(entry.guest)},
          {"target", describe_target(entry.target)},
          {"fact", reason.fact},
          {"cure", reason.cure},
          {"told", entry.told},
          {"icmp", entry.icmp ? describe_icmp(*entry.icmp, entry.guest.v6) : json()},
          {"errno", reason.errno_value != 0 ? json(name(reason.errno_value)) : json()},
          {"count", entry.count},
          {"first_time", static_cast<double>(entry.first_ns) / 1e9},
          {"last_time", static_cast<double>(entry.last_ns) / 1e9}};
}

}  // namespace

void add_reason_routes(Router& router, ControlledLan& target) {
  router.add("GET", "/reasons", [&](const ControlRequest& request) {
    const auto& entries = gateway_of(target, request).reasons().entries();
    return reply_with_list(std::vector<ReasonBook::Entry>(entries.begin(), entries.end()),
                           describe_reason);
  });
}

void add_reason_metrics(std::vector<MetricsWriter>& all, const ControlledLan& target) {
  if (target.gateway == nullptr) return;
  all.emplace_back([&target](MetricsPage& page) {
    page.head("lanyard_unreachable_total", "Times a guest was told of a cause", "counter");
    for (size_t at = 0; at < netstack::kCauseCount; ++at) {
      const auto cause = static_cast<netstack::Cause>(at);
      if (const uint64_t times = target.gateway->reasons().count(cause)) {
        page.sample("lanyard_unreachable_total{{cause=\"{}\"}} {}", netstack::cause_row(cause).id,
                    times);
      }
    }
  });
}

void publish_reason_events(ControlledLan& target, EventStream& events) {
  if (target.gateway == nullptr) return;
  target.gateway->reasons().observe(
      [&events](const ReasonBook::Entry& entry, uint64_t unheard_count) {
        json line = describe_reason(entry);
        line["event"] = "unreachable";
        line["unheard"] = unheard_count;
        events.publish(std::move(line));
      });
}

}  // namespace tools
