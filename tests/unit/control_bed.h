#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/whole_reply.h"
#include "tools/control/api_description.h"
#include "tools/control/control_socket.h"
#include "tools/lan/lan.h"

// What the tests of the control socket share: a LAN with all its operations, and the events it
// tells of, read from the beginning.
namespace tests {

struct ControlBed {
  ControlBed(netstack::Loop& loop, netstack::Log& log, netstack::Gateway* gateway = nullptr)
      : lan(loop, log),
        target{.lan = lan, .log = log, .gateway = gateway},
        events(loop.clock()),
        cursor(events, true) {
    tools::add_all_routes(router, target);
    tools::publish_all_events(target, events);
  }
  ~ControlBed() { tools::forget_all_events(target); }

  tools::ControlReply ask(const char* method, const std::string& path,
                          nlohmann::json body = nlohmann::json::object(),
                          tools::NamedTexts query = {}) {
    tools::ControlRequest request{.method = method, .path = path, .body = std::move(body)};
    request.query = std::move(query);
    return whole(router.answer(std::move(request)));
  }

  std::vector<nlohmann::json> take_events() {
    std::string text(1U << 20U, 0);
    text.resize(cursor.read(text.data(), text.size()));
    std::vector<nlohmann::json> all;
    std::istringstream lines(text);
    static const nlohmann::json kinds =
        tools::api_description()["components"]["schemas"]["EventKind"]["enum"];
    for (std::string line; std::getline(lines, line);) {
      all.push_back(nlohmann::json::parse(line));
      CHECK_MESSAGE(std::ranges::find(kinds, all.back()["event"]) != kinds.end(), line);
    }
    return all;
  }

  tools::Lan lan;
  tools::ControlledLan target;
  tools::EventStream events;
  tools::EventStream::Cursor cursor;
  tools::Router router;
};

// An object has just the members that its description requires.
inline void check_members(const nlohmann::json& object, const char* schema) {
  static const nlohmann::json schemas = tools::api_description()["components"]["schemas"];
  std::set<std::string> given;
  for (const auto& [name, value] : object.items()) given.insert(name);
  CHECK_MESSAGE(given == schemas[schema]["required"].get<std::set<std::string>>(), schema);
}

}  // namespace tests
