#include "tools/control/request_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "tools/control/api_description.h"

namespace tools {

namespace {

using nlohmann::json;

const json& api() {
  static const json description = api_description();
  return description;
}

const json& resolved(const json& schema) {
  const auto ref = schema.find("$ref");
  if (ref == schema.end()) return schema;
  return api().at(json::json_pointer(ref->get<std::string>().substr(1)));  // without "#"
}

[[noreturn]] void refuse(const ControlRequest& request, const std::string& happened) {
  throw ControlRefusal(400,
                       fmt::format("cannot {} {}: {}", request.method, request.path, happened));
}

std::string listed(const std::set<std::string>& names) {
  return fmt::format("{}", fmt::join(names, ", "));
}

// --- the query ---

// "lease" stands for every lease-…
bool is_kind(const std::string& word, const std::set<std::string>& kinds) {
  return kinds.contains(word) ||
         std::ranges::any_of(kinds, [&](const auto& kind) { return kind.starts_with(word + '-'); });
}

void check_value(const ControlRequest& request, const std::string& name, const std::string& value,
                 const json& schema) {
  const bool is_list = schema.contains("items");  // with commas between
  const json& one = resolved(is_list ? schema["items"] : schema);
  if (!one.contains("enum")) return;
  const auto known = one["enum"].get<std::set<std::string>>();
  for (size_t at = 0; at <= value.size();) {
    const size_t end = is_list ? std::min(value.find(',', at), value.size()) : value.size();
    const std::string word = value.substr(at, end - at);
    if (is_list ? !is_kind(word, known) : !known.contains(word)) {
      refuse(request, fmt::format("there is no {} \"{}\"; known: {}", name, word, listed(known)));
    }
    at = end + 1;
  }
}

void check_query(const ControlRequest& request, const json& operation) {
  std::set<std::string> known;
  for (const json& parameter : operation.value("parameters", json::array())) {
    if (parameter.at("in") != "query") continue;
    const std::string& name = *known.insert(parameter.at("name")).first;
    const auto given = request.query.find(name);
    if (given != request.query.end()) {
      check_value(request, name, given->second, parameter.at("schema"));
    }
  }
  for (const auto& [name, value] : request.query) {
    if (known.contains(name)) continue;
    refuse(request, fmt::format("it takes no ?{}=; known: {}", name,
                                known.empty() ? "none" : listed(known)));
  }
  if (request.repeated.empty()) return;
  refuse(request,
         fmt::format("?{}= is given more than once; give it once", listed(request.repeated)));
}

// --- the body ---

void add_members(const json& given_schema, std::map<std::string, json>& members) {
  const json& schema = resolved(given_schema);
  const json properties = schema.value("properties", json::object());
  for (const auto& [name, property] : properties.items()) members.emplace(name, property);
  for (const json& part : schema.value("allOf", json::array())) add_members(part, members);
}

// The handlers see to types.
void check_members(const ControlRequest& request, const json& value, const json& given_schema) {
  const json& schema = resolved(given_schema);
  if (value.is_array() && schema.contains("items")) {
    for (const json& item : value) check_members(request, item, schema["items"]);
  }
  if (!value.is_object()) return;
  std::map<std::string, json> known;
  add_members(schema, known);
  for (const auto& [name, member] : value.items()) {
    const auto found = known.find(name);
    if (found != known.end()) {
      check_members(request, member, found->second);
      continue;
    }
    std::set<std::string> names;
    for (const auto& each : known) names.insert(each.first);
    refuse(request, fmt::format("the body takes no \"{}\"; known: {}", name,
                                names.empty() ? "none" : listed(names)));
  }
}

}  // namespace

void refuse_undescribed(const ControlRequest& request, std::string_view pattern) {
  const auto methods = api().at("paths").find(std::string(pattern));
  if (methods == api().at("paths").end()) return;
  std::string method = request.method;
  for (char& letter : method) {
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  const auto operation = methods->find(method);
  if (operation == methods->end()) return;
  check_query(request, *operation);
  static const json::json_pointer kSchema("/requestBody/content/application~1json/schema");
  check_members(request, request.body,
                operation->contains(kSchema) ? operation->at(kSchema) : json::object());
}

}  // namespace tools
