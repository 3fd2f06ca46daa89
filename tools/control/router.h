#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tools {

// White space means nothing in JSON, and a space does not show: with a line end, a report that is
// found in thousands of steps would begin with a page of empty lines.
constexpr std::string_view kBlankPiece = " ";

using NamedTexts = std::map<std::string, std::string, std::less<>>;

// One HTTP request, read whole.
struct ControlRequest {
  std::string method = {};
  std::string path = {};
  nlohmann::json body = nlohmann::json::object();  // {} when none was sent
  NamedTexts parameters = {};                      // of the route: {"number": "3"}
  NamedTexts query = {};                           // ?kind=lease: {"kind": "lease"}
  std::set<std::string> repeated = {};             // of the query: what is given more than once
};

// What goes back: `pieces` if set, else `text` if set, else `json`.
struct ControlReply {
  int status = 200;
  nlohmann::json json = nullptr;
  std::optional<std::string> text = std::nullopt;  // as text/plain
  // The text's next piece, empty at the end; asked for when the client has taken the one before, so
  // that a long reply never holds up a tick. A step that found nothing to tell gives kBlankPiece;
  // the next one is for another tick. What it tells of may have changed in between.
  std::function<std::string()> pieces = {};
  const char* pieces_type = "application/json";
};

// A request that cannot be met. Becomes {"error": "what was tried, what happened, what to do"}.
class ControlRefusal {
 public:
  ControlRefusal(int status, std::string line) : status_(status), line_(std::move(line)) {}
  ControlReply reply() const { return {.status = status_, .json = {{"error", line_}}}; }

 private:
  int status_;
  std::string line_;
};

// The operations on a LAN: one table, from which requests are answered and the OpenAPI description
// is checked. A pattern is "/ports/{number}/link"; a part in braces takes one path segment.
class Router {
 public:
  using Handler = std::function<ControlReply(const ControlRequest&)>;
  struct Route {
    std::string method = {};
    std::string pattern;
    Handler handler;
  };

  void add(std::string method, std::string pattern, Handler handler);
  // Never throws: whatever a handler throws becomes a reply. Unknown paths are 404, known paths
  // with another method 405.
  ControlReply answer(ControlRequest request) const;
  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

// The member `name` of a request's body. Throws ControlRefusal (400) when it is absent or of
// another type.
std::string text_member(const ControlRequest& request, std::string_view name);
bool flag_member(const ControlRequest& request, std::string_view name);

}  // namespace tools
