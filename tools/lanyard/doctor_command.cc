#include "tools/lanyard/doctor_command.h"

#include <fmt/format.h>
#include <sysexits.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "netstack/base/error.h"
#include "netstack/reachability/cause_table.h"
#include "tools/doctor/host_checks.h"
#include "tools/doctor/lan_checks.h"
#include "tools/doctor/lan_report.h"
#include "tools/doctor/outlook.h"
#include "tools/doctor/page.h"
#include "tools/lan/standard_descriptors.h"
#include "tools/lanyard/cause_list.h"
#include "tools/lanyard/control_client.h"
#include "tools/lanyard/given_word.h"

namespace tools {
namespace {

using netstack::IpAddress;
using nlohmann::ordered_json;

constexpr const char* kPurpose =
    "Look at this host, or at a LAN, and say what stands in a guest's way";

constexpr double kWaitMax_s = 60;
constexpr int kAnswerWait_ms = 5000;  // for each answer of a LAN

constexpr const char* kDetails =
    "Without --to: routes of both IP versions (looked up for 8.8.8.8 and 2001:4860:4860::8888, to\n"
    "which nothing is sent), ping sockets, the nameservers of /etc/resolv.conf, /dev/kvm,\n"
    "/dev/net/tun, QEMU, signs of a sandbox, proxies, limits and room. Nothing is sent, unless\n"
    "--probe is given: then each nameserver with a route gets one DNS query (the root's NS) and 2 "
    "s\n"
    "for its answer.\n"
    "With --to: the route to ADDRESS, ping sockets, and then one ICMP echo request to ADDRESS and\n"
    "2 s for its reply.\n"
    "With --lan: the running LAN in DIR, as its control socket tells of it, looked at twice. "
    "Nothing\n"
    "is sent into the LAN.\n"
    "With --causes: nothing is examined; every cause that can be told apart is listed, as\n"
    "Markdown or JSON.\n\n"
    "Marks: ok, a warning (slower, or one feature less), a problem.\n"
    "Exit status: 0 no problem, 1 a problem, 64 bad usage, 69 no LAN runs in DIR, 71 the kernel\n"
    "cannot be asked, 74 the verdict cannot be written, 75 the LAN gives no answer within 5 s, 76\n"
    "what answers is no LAN.";

struct Options {
  std::optional<std::string> to;
  bool probe = false;
  bool causes = false;
  std::string lan;
  double wait_s = 1;
  bool json = false;
};

// What an address is that no router leads to, so that the gateway carries nothing there and tells
// guests nothing of it; empty: it is none of these.
std::string_view kind_beyond_routing(const IpAddress& address) {
  const auto& octets = address.octets;
  if (address.is_multicast()) return "a multicast address";
  if (std::ranges::all_of(octets, [](uint8_t octet) { return octet == 0; })) {
    return "nobody's address";
  }
  if (!address.v6) return address.v4_bits() == UINT32_MAX ? "the broadcast address" : "";
  return octets[0] == 0xfe && (octets[1] & 0xc0U) == 0x80 ? "an address of one link alone" : "";
}

IpAddress parse_target(const std::string& text) {
  const auto address = IpAddress::parse(text);
  const std::string_view kind = address ? kind_beyond_routing(*address) : "";
  if (address && kind.empty()) return *address;
  throw netstack::Error(
      EX_USAGE, fmt::format("cannot examine \"{}\": it is {}; give one such as 8.8.8.8", text,
                            address ? kind : "no IPv4 or IPv6 address"));
}

std::string as_json(const Outlook& outlook, const Findings& host) {
  const Finding* failing = outlook.failing();
  const auto member = [&](const std::string Finding::*what) {
    const bool none = failing == nullptr || (failing->*what).empty();
    return none ? ordered_json(nullptr) : ordered_json(failing->*what);
  };
  ordered_json out;
  out["verdict"] = mark_name(std::max(worst(outlook.checks), worst(host)));
  out["reachable"] = failing == nullptr;
  out["to"] = outlook.to.empty() ? ordered_json(nullptr) : ordered_json(outlook.to);
  out["guest_told"] = member(&Finding::guest_told);
  out["fact"] = member(&Finding::fact);
  out["cause"] = member(&Finding::cause);
  out["cure"] = member(&Finding::cure);
  out["errno"] = failing == nullptr ? ordered_json(nullptr) : as_json(*failing)["errno"];
  out["checks"] = ordered_json::array();
  for (const Findings* part : {&outlook.checks, &host}) {
    for (const Finding& one : shown(*part)) out["checks"].push_back(as_json(one));
  }
  return dump(out);
}

std::string conclusion(const Outlook& outlook) {
  const std::string what = outlook.to.empty() ? "the Internet" : outlook.to;
  const Finding* failing = outlook.failing();
  if (failing == nullptr) return fmt::format("{} is reachable.", what);
  const std::string told = failing->guest_told.empty()
                               ? "A guest is told nothing and waits"
                               : fmt::format("A guest is told \"{}\"", failing->guest_told);
  return fmt::format("{} is not reachable ({}): {}. {}.", what, failing->cause, failing->fact,
                     told);
}

std::string as_text(const Outlook& outlook, const Findings& host) {
  Page page(PageStyle::of_stdout());
  page.findings(outlook.checks);
  page.findings(host);
  page.line(page.plain(conclusion(outlook)));
  return page.text();
}

int list_causes(const Options& options) {
  write_out(options.json ? causes_as_json() : netstack::causes_as_markdown());
  return EX_OK;
}

int examine_host(const Options& options) {
  const std::optional<IpAddress> address =
      options.to ? std::optional(parse_target(*options.to)) : std::nullopt;
  netstack::Reachability reachability;
  netstack::SystemClock clock;
  const Outlook outlook = address ? judge_address(reachability, *address, clock)
                                  : judge_internet(reachability, clock, options.probe);
  const Findings host = address ? Findings{} : check_host();
  write_out(options.json ? as_json(outlook, host) : as_text(outlook, host));
  return std::max(worst(outlook.checks), worst(host)) == Mark::kProblem ? 1 : EX_OK;
}

int examine_lan(const Options& options) {
  const AskLan ask = [&](const std::string& path) -> LanAnswer {
    ControlAnswer answer = ask_control(options.lan, "GET", path, {}, {}, kAnswerWait_ms);
    return {answer.status, std::move(answer.body)};
  };
  LanVisit visit{look_at_lan(options.lan, ask), {}};
  std::this_thread::sleep_for(std::chrono::duration<double>(options.wait_s));
  visit.now = look_at_lan(options.lan, ask);
  const Findings findings = check_lan(visit);
  write_out(options.json ? lan_json(visit.now, findings)
                         : lan_text(visit.now, findings, PageStyle::of_stdout()));
  return worst(findings) == Mark::kProblem ? 1 : EX_OK;
}

}  // namespace

void add_doctor_command(CLI::App& app, int& status) {
  auto options = std::make_shared<Options>();
  CLI::App* doctor = app.add_subcommand("doctor", kPurpose);
  doctor->footer(kDetails);
  CLI::Option* to =
      doctor->add_option("--to", options->to, "Judge this IPv4 or IPv6 address instead");
  to->type_name("ADDRESS");
  CLI::Option* probe =
      doctor->add_flag("--probe", options->probe, "Ask each nameserver one question")->excludes(to);
  CLI::Option* lan =
      doctor->add_option("--lan", options->lan, "Look at the running LAN in this directory");
  lan->type_name("DIR")->check(refuse_empty)->excludes(to)->excludes(probe);
  doctor->add_option("--wait", options->wait_s, "Between the two looks at the LAN (default 1)")
      ->type_name("SECONDS")
      ->check(refuse_empty)
      ->check([](const std::string& text) {
        char* end = nullptr;
        const double seconds = std::strtod(text.c_str(), &end);  // a NaN is in no range
        const bool fits = *end == '\0' && seconds >= 0 && seconds <= kWaitMax_s;
        return fits ? std::string()
                    : fmt::format("\"{}\" is no number of seconds from 0 to {}", text, kWaitMax_s);
      })
      ->needs(lan);
  doctor->add_flag("--causes", options->causes, "List every cause that can be told apart")
      ->excludes(to)
      ->excludes(probe)
      ->excludes(lan);
  doctor->add_flag("--json", options->json, "One JSON object instead of text");
  doctor->callback([options, &status] {
    status = options->causes        ? list_causes(*options)
             : options->lan.empty() ? examine_host(*options)
                                    : examine_lan(*options);
  });
}

}  // namespace tools
