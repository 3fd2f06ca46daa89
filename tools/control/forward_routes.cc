#include "tools/control/forward_routes.h"

#include <fmt/format.h>

#include "netstack/base/error.h"
#include "netstack/base/number.h"
#include "tools/control/json_pieces.h"

namespace tools {

namespace {

using netstack::Forward;
using netstack::ForwardEvent;
using netstack::Forwards;
using netstack::HostForward;
using nlohmann::json;

json describe_forward(const Forward& forward) {
  const HostForward& rule = forward.rule;
  json line = {{"number", forward.number},
               {"forward", to_string(rule)},
               {"protocol", rule.is_unix() ? "unix" : protocol_name(rule.protocol)},
               {"host", rule.is_unix() ? rule.path : to_string(rule.host_address)},
               {"port", nullptr},
               {"state", forward_state_name(forward.state)},
               {"answer", forward_answer_name(forward.answer)},
               {"explanation", forward_answer_sentence(forward.answer)},
               {"connections", forward.connections},
               {"failed", forward.failed}};
  if (!rule.is_unix()) line["port"] = rule.host_port;
  return line;
}

ControlReply show_forwards(const ControlledLan& target, const ControlRequest& request) {
  const Forwards& forwards = gateway_of(target, request).forwards();
  std::vector<uint32_t> numbers;
  forwards.for_each([&](const Forward& forward) { numbers.push_back(forward.number); });
  return reply_with_list(std::move(numbers), [&forwards](uint32_t number) -> json {
    const Forward* forward = forwards.find(number);
    return forward != nullptr ? describe_forward(*forward) : json();
  });
}

HostForward rule_of(const ControlRequest& request) {
  try {
    return HostForward::parse(text_member(request, "forward"));
  } catch (const netstack::Error& error) {
    throw ControlRefusal(400, error.what());
  }
}

ControlReply add_forward(const ControlledLan& target, const ControlRequest& request) {
  Forwards& forwards = gateway_of(target, request).forwards();
  json added = json::array();
  for (const uint32_t number : forwards.add(rule_of(request))) {
    added.push_back(describe_forward(*forwards.find(number)));
  }
  return {.status = 201, .json = added};
}

const Forward& named_forward(const ControlledLan& target, const ControlRequest& request) {
  const std::string& text = request.parameters.find("number")->second;
  const auto number = netstack::parse_number<uint32_t>(text);
  const Forwards& forwards = gateway_of(target, request).forwards();
  const Forward* forward = number ? forwards.find(*number) : nullptr;
  if (forward == nullptr) {
    throw ControlRefusal(404, fmt::format("cannot {} {}: there is no forward {}; GET /forwards "
                                          "lists them",
                                          request.method, request.path, text));
  }
  return *forward;
}

ControlReply remove_forward(const ControlledLan& target, const ControlRequest& request) {
  const Forward& forward = named_forward(target, request);
  const json removed = describe_forward(forward);
  gateway_of(target, request).forwards().remove(forward.number);
  return {.json = removed};
}

std::string event_name(const ForwardEvent& event) {
  switch (event.kind) {
    case ForwardEvent::Kind::kAdded:
      return "forward-added";
    case ForwardEvent::Kind::kRemoved:
      return "forward-removed";
    case ForwardEvent::Kind::kChanged:
      return fmt::format("forward-{}", forward_state_name(event.forward.state));
  }
  return "";
}

}  // namespace

void add_forward_routes(Router& router, ControlledLan& target) {
  using Request = const ControlRequest&;
  router.add("GET", "/forwards", [&](Request request) { return show_forwards(target, request); });
  router.add("POST", "/forwards", [&](Request request) { return add_forward(target, request); });
  router.add("GET", "/forwards/{number}", [&](Request request) -> ControlReply {
    return {.json = describe_forward(named_forward(target, request))};
  });
  router.add("DELETE", "/forwards/{number}",
             [&](Request request) { return remove_forward(target, request); });
}

void publish_forward_events(ControlledLan& target, EventStream& events) {
  if (target.gateway == nullptr) return;
  target.gateway->forwards().watch([&events](const ForwardEvent& event) {
    events.publish({{"event", event_name(event)},
                    {"forward", to_string(event.forward.rule)},
                    {"forward_number", event.forward.number},
                    {"answer", forward_answer_name(event.forward.answer)}});
  });
}

}  // namespace tools
