#include "tools/lanyard/doctor_command.h"

#include <fmt/format.h>
#include <sysexits.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "netstack/base/error.h"
#include "netstack/gateway/cause_table.h"
#include "tools/doctor/host_checks.h"
#include "tools/doctor/outlook.h"
#include "tools/doctor/page.h"
#include "tools/lanyard/cause_list.h"

namespace tools {
namespace {

using netstack::IpAddress;
using nlohmann::ordered_json;

constexpr const char* kPurpose = "Look at this host and say what stands in a guest's way";

constexpr const char* kDetails =
    "Without --to: routes of both IP versions (looked up for 8.8.8.8 and 2001:4860:4860::8888, to\n"
    "which nothing is sent), ping sockets, the nameservers of /etc/resolv.conf, /dev/kvm,\n"
    "/dev/net/tun, QEMU, signs of a sandbox, proxies, limits and room. Nothing is sent, unless\n"
    "--probe is given: then each nameserver with a route gets one DNS query (the root's NS) and 2 "
    "s\n"
    "for its answer.\n"
    "With --to: the route to ADDRESS, ping sockets, and then one ICMP echo request to ADDRESS and\n"
    "2 s for its reply.\n\n"
    "With --causes: nothing is examined; every cause that can be told apart is listed, as\n"
    "Markdown or JSON.\n\n"
    "Marks: ok, a warning (slower, or one feature less), a problem.\n"
    "Exit status: 0 no problem, 1 a problem, 64 bad usage, 71 the kernel cannot be asked, 74 the\n"
    "verdict cannot be written.";

struct Options {
  std::optional<std::string> to;
  bool probe = false;
  bool causes = false;
  bool json = false;
};

IpAddress parse_target(const std::string& text) {
  const auto address = IpAddress::parse(text);
  if (address) return *address;
  throw netstack::Error(EX_USAGE,
                        fmt::format("cannot examine \"{}\": it is no IPv4 or IPv6 address; give "
                                    "one such as 8.8.8.8",
                                    text));
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
    for (const Finding& one : *part) out["checks"].push_back(as_json(one));
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

void write_out(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw netstack::host_error(errno, "write the verdict to stdout", "", EX_IOERR);
  }
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

}  // namespace

void add_doctor_command(CLI::App& app, int& status) {
  auto options = std::make_shared<Options>();
  CLI::App* doctor = app.add_subcommand("doctor", kPurpose);
  doctor->footer(kDetails);
  CLI::Option* to =
      doctor->add_option("--to", options->to, "Judge this IPv4 or IPv6 address instead");
  to->type_name("ADDRESS");
  doctor->add_flag("--probe", options->probe, "Ask each nameserver one question")->excludes(to);
  doctor->add_flag("--causes", options->causes, "List every cause that can be told apart")
      ->excludes(to);
  doctor->add_flag("--json", options->json, "One JSON object instead of text");
  doctor->callback([options, &status] {
    status = options->causes ? list_causes(*options) : examine_host(*options);
  });
}

}  // namespace tools
