#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace tools {

// The objects of a list; whatever else it is throws json::exception, and does not pass for an empty
// one.
const nlohmann::json::array_t& items(const nlohmann::json& list);

// What the control socket answers, as people read it: columns as wide as their widest cell. With
// `colours` headings are bold and what deserves a look is red. Text that guests and peers chose
// has its control characters replaced, so that it cannot speak to the terminal.
class CtlTables {
 public:
  explicit CtlTables(bool colours) : colours_(colours) {}

  std::string ports(const nlohmann::json& ports) const;
  std::string stations(const nlohmann::json& stations) const;
  std::string leases(const nlohmann::json& leases) const;
  std::string captures(const nlohmann::json& captures) const;
  std::string reasons(const nlohmann::json& reasons) const;
  std::string flows(const nlohmann::json& flows) const;
  std::string egress(const nlohmann::json& egress) const;
  std::string policy(const nlohmann::json& policy) const;
  std::string guests(const nlohmann::json& book) const;
  std::string loops(const nlohmann::json& loops) const;
  std::string forwards(const nlohmann::json& forwards) const;
  std::string sandbox(const nlohmann::json& sandbox) const;
  std::string event(const nlohmann::json& event) const;  // one line

  struct Overview {
    std::string directory;
    nlohmann::json about;  // GET /
    nlohmann::json ports;
    nlohmann::json stations;
    nlohmann::json leases;  // null: the LAN has no gateway; the next one, too
    nlohmann::json reasons;
    nlohmann::json captures;
  };
  std::string overview(const Overview& lan) const;

 private:
  bool colours_;
};

}  // namespace tools
