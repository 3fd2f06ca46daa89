#include "tools/control/router.h"

#include <fmt/format.h>

#include <exception>

#include "netstack/base/error.h"
#include "tools/control/request_check.h"

namespace tools {

namespace {

// The next segment of "/a/b", taken off the front.
std::string_view take_segment(std::string_view& path) {
  path.remove_prefix(1);
  const std::string_view segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  return segment;
}

std::optional<NamedTexts> match(std::string_view pattern, std::string_view path) {
  NamedTexts parameters;
  while (!pattern.empty() && !path.empty()) {
    if (path.front() != '/') return std::nullopt;
    const std::string_view wanted = take_segment(pattern);
    const std::string_view given = take_segment(path);
    if (wanted.starts_with('{')) {
      if (given.empty()) return std::nullopt;
      parameters.emplace(wanted.substr(1, wanted.size() - 2), given);
    } else if (wanted != given) {
      return std::nullopt;
    }
  }
  if (!pattern.empty() || !path.empty()) return std::nullopt;
  return parameters;
}

ControlReply run(const Router::Route& route, const ControlRequest& request) {
  try {
    refuse_undescribed(request, route.pattern);
    return route.handler(request);
  } catch (const ControlRefusal& refusal) {
    return refusal.reply();
  } catch (const netstack::Error& error) {
    return ControlRefusal(409, error.what()).reply();
  } catch (const std::exception& error) {
    return ControlRefusal(500, error.what()).reply();
  }
}

const nlohmann::json& member(const ControlRequest& request, std::string_view name,
                             nlohmann::json::value_t type, std::string_view type_name) {
  const auto found = request.body.find(std::string(name));
  if (found == request.body.end() || found->type() != type) {
    throw ControlRefusal(400, fmt::format("cannot {} {}: the body needs \"{}\", a {}",
                                          request.method, request.path, name, type_name));
  }
  return *found;
}

}  // namespace

void Router::add(std::string method, std::string pattern, Handler handler) {
  routes_.push_back({std::move(method), std::move(pattern), std::move(handler)});
}

ControlReply Router::answer(ControlRequest request) const {
  std::string allowed;
  for (const Route& route : routes_) {
    auto parameters = match(route.pattern, request.path);
    if (!parameters) continue;
    if (route.method == request.method) {
      request.parameters = std::move(*parameters);
      return run(route, request);
    }
    allowed += (allowed.empty() ? "" : ", ") + route.method;
  }
  if (!allowed.empty()) {
    return ControlRefusal(
               405, fmt::format("cannot {} {}: it takes {}", request.method, request.path, allowed))
        .reply();
  }
  return ControlRefusal(404, fmt::format("cannot {} {}: there is no such thing; GET / lists what "
                                         "there is",
                                         request.method, request.path))
      .reply();
}

std::string text_member(const ControlRequest& request, std::string_view name) {
  return member(request, name, nlohmann::json::value_t::string, "string").get<std::string>();
}

bool flag_member(const ControlRequest& request, std::string_view name) {
  return member(request, name, nlohmann::json::value_t::boolean, "boolean").get<bool>();
}

}  // namespace tools
