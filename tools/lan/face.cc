#include "tools/lan/face.h"

#include <fmt/format.h>
#include <getopt.h>
#include <grp.h>

#include <climits>
#include <exception>

#include "netstack/base/error.h"
#include "netstack/base/number.h"
#include "netstack/port/pipe_port.h"
#include "tools/lan/standard_descriptors.h"

namespace tools {

using netstack::Error;

namespace {

constexpr mode_t kDefaultMode = 0700;  // libvdeplug's

}  // namespace

mode_t octal_mode(std::string_view text) {
  const auto mode = netstack::parse_number<uint32_t>(text, 8);
  if (mode && *mode <= 0777) return static_cast<mode_t>(*mode);
  throw Error(kFaceUsageStatus, fmt::format("cannot use mode \"{}\": it is no octal number up to "
                                            "777; write for example 0770",
                                            text));
}

std::string given_path(const std::string& text, std::string_view option) {
  if (!text.empty()) return text;
  throw Error(kFaceUsageStatus,
              fmt::format("cannot use {} \"\": it is an empty path; name one, or leave the option "
                          "out",
                          option));
}

std::optional<gid_t> find_group(const std::string& name) {
  if (const ::group* entry = ::getgrnam(name.c_str()); entry != nullptr) return entry->gr_gid;
  return netstack::parse_number<gid_t>(name);
}

gid_t group_id(const std::string& name) {
  if (const auto group = find_group(name)) return *group;
  throw Error(kFaceFailureStatus,
              fmt::format("cannot use group \"{}\": there is no such group; `getent group` lists "
                          "them",
                          name));
}

uint32_t whole_number(std::string_view text, uint32_t max, std::string_view option) {
  const auto number = netstack::parse_number<uint32_t>(text);
  if (number && *number <= max) return *number;
  throw Error(kFaceUsageStatus,
              fmt::format("cannot use {} \"{}\": it is no number from 0 to {}", option, text, max));
}

// A long option has been stepped over, a short one may be amid others.
std::string stopped_at(char** argv) {
  const std::string_view word = argv[optind - 1];
  const bool is_short = optopt > 0 && optopt <= CHAR_MAX && !word.starts_with("--");
  return is_short ? fmt::format("-{}", static_cast<char>(optopt)) : std::string(word);
}

MakePlug lan_end(const FacePlug& plug, std::string program) {
  return [plug, program = std::move(program)](netstack::Loop& loop, netstack::PortHost& host,
                                              int give_up_fd) -> std::unique_ptr<netstack::Port> {
    if (plug.where == "-") {
      return std::make_unique<netstack::PipePort>(loop, host, STDIN_FILENO, STDOUT_FILENO,
                                                  "standard input");
    }
    netstack::VdePlugWish wish;
    wish.where = netstack::VdeLocator::parse(plug.where);
    if (plug.port_number != 0) wish.where.port_number = plug.port_number;
    wish.description = netstack::describe_vde_client(program);
    wish.mode = plug.mode.value_or(plug.group ? kDefaultMode | 070 : kDefaultMode);
    wish.group = plug.group;
    wish.give_up_fd = give_up_fd;
    return netstack::open_vde_plug(loop, host, wish);
  };
}

int run_face(FaceLog& log, const std::string& program, const FacePlug& plug, const MakePort& ours,
             SandboxPlan plan) {
  if (plug.background && plug.where == "-") {
    throw Error(kFaceUsageStatus,
                "cannot go to the background with -s -: frames come and go by standard input and "
                "output; leave out -d");
  }
  sandbox_is_wanted();  // or it is refused here
  Background background(plug.background);
  const PidFile pid_file(plug.pid_file);
  add_removal(plan, plug.pid_file);
  const int status = run_plug_session(log, lan_end(plug, program), ours, [&] {
    background.ready(log);
    lock_in_if_wanted(plan, log);
  });
  return status == 0 ? 0 : kFaceFailureStatus;
}

void prepare_process() {
  open_standard_descriptors();
  for (const int signal : kIgnoredSignals) std::signal(signal, SIG_IGN);
}

void heed_even_if_ignored(int signal) {
  std::signal(signal, SIG_DFL);
}

int face_main(const std::string& program, const std::function<int(FaceLog&)>& body) {
  prepare_process();
  FaceLog log(program);
  try {
    return body(log);
  } catch (const Error& error) {
    log.line(error.what());
    return error.exit_code() == kFaceUsageStatus ? kFaceUsageStatus : kFaceFailureStatus;
  } catch (const std::exception& error) {
    log.line(error.what());
    return kFaceFailureStatus;
  }
}

}  // namespace tools
