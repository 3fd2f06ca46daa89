#include "tools/control/capture_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "netstack/base/error.h"
#include "netstack/base/number.h"

namespace tools {

namespace {

using nlohmann::json;

json describe_capture(const RunningCapture& running) {
  const netstack::CaptureChoice& choice = running.capture->choice();
  const std::string trouble = running.capture->trouble();
  const bool whole = choice.snap_bytes == netstack::kSnapBytes;
  return {{"id", running.id},
          {"file", running.file},
          {"filter", choice.filter.empty() ? json(nullptr) : json(choice.filter)},
          {"snaplen", whole ? json(nullptr) : json(choice.snap_bytes)},
          {"frames", running.capture->frames_captured()},
          {"left_out", running.capture->frames_left_out()},
          {"lost", running.capture->frames_lost()},
          {"trouble", trouble.empty() ? json(nullptr) : json(trouble)}};
}

json describe_captures(const ControlledLan& target) {
  json all = json::array();
  for (const RunningCapture& running : target.captures) all.push_back(describe_capture(running));
  return all;
}

void refuse_path(const ControlledLan& target, const std::string& path) {
  if (path.find('\0') != path.npos) {
    throw ControlRefusal(400, "cannot POST /captures: \"file\" has a NUL in it; leave that out");
  }
  if (!path.starts_with('/')) {
    throw ControlRefusal(400, fmt::format("cannot capture to \"{}\": the switch has a working "
                                          "directory of its own; give an absolute path",
                                          path));
  }
  if (!target.sandbox.lets_make(path)) {
    throw ControlRefusal(
        403,
        fmt::format("cannot capture to {}: the switch has locked itself out of that directory; "
                    "capture to a file in {}, or start the switch with --capture-dir",
                    path, fmt::join(target.sandbox.writable, ", ")));
  }
  for (const RunningCapture& running : target.captures) {
    if (running.file != path) continue;
    throw ControlRefusal(409, fmt::format("cannot capture to {}: capture {} writes it already; "
                                          "stop that one (DELETE /captures/{}) or name another "
                                          "file",
                                          path, running.id, running.id));
  }
  const std::string option = target.option_of_file ? target.option_of_file(path) : "";
  if (!option.empty()) {
    throw ControlRefusal(409, fmt::format("cannot capture to {}: it is the file of {}, which the "
                                          "switch writes at its end; name another file",
                                          path, option));
  }
  if (target.captures.size() == kCaptures_count) {
    throw ControlRefusal(409, fmt::format("cannot capture to {}: {} captures run already; stop one "
                                          "first (GET /captures lists them)",
                                          path, kCaptures_count));
  }
}

void refuse_filter(const std::string& filter) {
  try {
    const netstack::FrameFilter tried(filter);
  } catch (const netstack::Error& error) {
    throw ControlRefusal(400, error.what());
  }
}

// Null is what GET /captures tells where there is none.
std::string filter_of(const ControlRequest& request) {
  const auto filter = request.body.find("filter");
  if (filter == request.body.end() || filter->is_null()) return {};
  if (filter->is_string()) return filter->get<std::string>();
  throw ControlRefusal(400,
                       "cannot POST /captures: \"filter\" is no string; give an expression of "
                       "pcap-filter(7), or leave it out for every frame");
}

netstack::CaptureChoice choice_of(const ControlRequest& request) {
  netstack::CaptureChoice choice;
  choice.filter = filter_of(request);
  if (const auto snaplen = request.body.find("snaplen");
      snaplen != request.body.end() && !snaplen->is_null()) {
    const uint64_t bytes = snaplen->is_number_unsigned() ? snaplen->get<uint64_t>() : 0;
    if (bytes < netstack::kSnapBytesMin || bytes > netstack::kSnapBytes) {
      throw ControlRefusal(
          400, fmt::format("cannot POST /captures: \"snaplen\" is no number from {} to {}; "
                           "leave it out for whole frames",
                           netstack::kSnapBytesMin, netstack::kSnapBytes));
    }
    choice.snap_bytes = static_cast<uint32_t>(bytes);
  }
  refuse_filter(choice.filter);
  return choice;
}

ControlReply start_capture(ControlledLan& target, const ControlRequest& request) {
  const std::string path = text_member(request, "file");
  const netstack::CaptureChoice choice = choice_of(request);
  refuse_path(target, path);
  auto capture = std::make_unique<netstack::Capture>(path, target.lan.loop(), target.log,
                                                     "lanyard " LANYARD_VERSION,
                                                     netstack::Capture::Writer::kWaits, choice);
  capture->begin_file();
  capture->start_writer();
  const RunningCapture& running = list_capture(target, path, *capture);
  target.lan.add_mirror(std::move(capture));
  target.publish({{"event", "capture-started"}, {"id", running.id}, {"file", path}});
  return {.status = 201, .json = describe_capture(running)};
}

// The file is whole and closed when this returns. A reader that stands still delays that, and the
// LAN, by netstack::kCaptureDrain_ns at most.
void stop_capture(ControlledLan& target, std::vector<RunningCapture>::iterator at) {
  const RunningCapture running = *at;
  target.captures.erase(at);
  target.lan.remove_mirror(running.capture);
  target.publish({{"event", "capture-stopped"}, {"id", running.id}, {"file", running.file}});
}

ControlReply stop_one(ControlledLan& target, const ControlRequest& request) {
  const std::string& text = request.parameters.find("id")->second;
  const auto id = netstack::parse_number<unsigned>(text);
  const auto found = std::ranges::find(target.captures, id, &RunningCapture::id);
  if (found == target.captures.end()) {
    throw ControlRefusal(
        404, fmt::format("cannot DELETE {}: there is no capture {}; GET /captures lists them",
                         request.path, text));
  }
  stop_capture(target, found);
  return {.json = describe_captures(target)};
}

ControlReply stop_all(ControlledLan& target) {
  while (!target.captures.empty()) stop_capture(target, target.captures.begin());
  return {.json = json::array()};
}

}  // namespace

const RunningCapture& list_capture(ControlledLan& target, const std::string& file,
                                   netstack::Capture& capture) {
  const unsigned id = target.next_capture_id++;
  target.captures.push_back({id, file, &capture});
  const auto publish = [&target, id, file](const char* event, const std::string& why) {
    target.publish({{"event", event}, {"id", id}, {"file", file}, {"why", why}});
  };
  const auto remove = [&target, &capture, id, publish](const std::string& why) {
    publish("capture-stopped", why);
    std::erase_if(target.captures, [id](const RunningCapture& one) { return one.id == id; });
    target.lan.loop().at_end_of_tick(
        [&lan = target.lan, &capture] { lan.remove_mirror(&capture); });
  };
  capture.watch(
      {.on_trouble =
           [publish](const std::string& trouble) { publish("capture-incomplete", trouble); },
       .on_end = remove});
  return target.captures.back();
}

void add_capture_routes(Router& router, ControlledLan& target) {
  using Request = const ControlRequest&;
  router.add("GET", "/captures",
             [&](Request) -> ControlReply { return {.json = describe_captures(target)}; });
  router.add("POST", "/captures", [&](Request request) { return start_capture(target, request); });
  router.add("DELETE", "/captures", [&](Request) { return stop_all(target); });
  router.add("DELETE", "/captures/{id}",
             [&](Request request) { return stop_one(target, request); });
}

}  // namespace tools
