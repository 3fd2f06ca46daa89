#pragma once

#include <sys/types.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "netstack/vde/vde_client.h"
#include "tools/lan/background.h"
#include "tools/lan/plug_session.h"
#include "tools/sandbox/sandbox.h"

namespace tools {

// What the faces that plug into a switch (vde_plug2tap, slirpvde) have in common.
struct FacePlug {
  std::string where;  // "-": frames come and go by stdin and stdout; "": the usual places
  uint32_t port_number = 0;
  std::optional<mode_t> mode;
  std::optional<gid_t> group;
  bool background = false;
  std::string pid_file;
};

constexpr int kFaceUsageStatus = 255;  // stock tools end with exit(-1) after their usage text
constexpr int kFaceFailureStatus = 1;  // and with 1 when something fails

// Values of options. Throw Error (kFaceUsageStatus, kFaceFailureStatus for a group) naming
// `option`.
mode_t octal_mode(std::string_view text);
std::string given_path(const std::string& text, std::string_view option);  // not an empty one
gid_t group_id(const std::string& name);                                   // or number
std::optional<gid_t> find_group(const std::string& name);
uint32_t whole_number(std::string_view text, uint32_t max, std::string_view option);

// The option that getopt_long_only(3) has just refused, as it was written.
std::string stopped_at(char** argv);

// The plug that `plug` asks for, as the LAN's end of a cable.
MakePlug lan_end(const FacePlug& plug, std::string program);

// Runs a face from its parsed options: background, pid file, cable. `ours` is our end of the cable.
// When all of it is there, and before the first frame, the process locks itself in: `plan` is what
// it needs from then on besides its plug and its pid file.
int run_face(FaceLog& log, const std::string& program, const FacePlug& plug, const MakePort& ours,
             SandboxPlan plan = {});

// What every face does first. A caller may have closed standard descriptors; a socket of ours must
// not come to stand where others print. And a peer that left is an error code, not a signal:
// SIGPIPE and the other signals that VDE's programs take without ending (kIgnoredSignals) are
// ignored.
void prepare_process();
inline constexpr std::array kIgnoredSignals = {SIGPIPE,   SIGALRM, SIGUSR1, SIGUSR2,  SIGPROF,
                                               SIGVTALRM, SIGIO,   SIGPWR,  SIGSTKFLT};

// For a signal that the stock program catches even where it was started with it ignored: SIGINT in
// a script's &, say.
void heed_even_if_ignored(int signal);

// The body of a face's main(): the process prepared, errors as one line.
int face_main(const std::string& program, const std::function<int(FaceLog&)>& body);

}  // namespace tools
