#include "tests/unit/control_bed.h"
#include "tests/unit/forwards_bed.h"
#include "tools/control/forward_routes.h"

using namespace tests;
using namespace tools;
using nlohmann::json;

namespace {

struct WithGateway {
  ForwardBed bed = make_forward_bed();
};
struct World : WithGateway, ControlBed {
  World() : ControlBed(bed.loop, bed.log, &bed.gateway) { bed.listening.insert(22); }
  std::vector<std::string> take_forward_events() {
    std::vector<std::string> names;
    for (const json& event : take_events()) {
      const std::string name = event["event"];
      if (!name.starts_with("forward-")) continue;  // the flows through them
      names.push_back(fmt::format("{} {}", name, event["forward_number"].get<int>()));
    }
    return names;
  }
};

}  // namespace

TEST_CASE("forwards are added, watched and removed over the control socket") {
  World world;
  CHECK(world.ask("GET", "/forwards").json == json::array());
  const ControlReply added = world.ask("POST", "/forwards", {{"forward", "tcp::0-:22"}});
  CHECK(added.status == 201);
  REQUIRE(added.json.size() == 1);
  const json& one = added.json[0];
  const uint16_t port = one["port"];
  CHECK(port != 0);
  CHECK(one["forward"] == fmt::format("tcp:127.0.0.1:{}-:22", port));
  CHECK(one["state"] == "waiting");
  world.bed.pass_ms(300);
  const json ready = world.ask("GET", "/forwards/1").json;
  CHECK(ready["state"] == "ready");
  CHECK(ready["answer"] == "accepted");
  CHECK(ready["explanation"] == "the guest's port answers");
  CHECK(world.ask("GET", "/forwards").json == json::array({ready}));
  {
    const Client client("127.0.0.1", port);
    CHECK(client.error == 0);
    world.bed.run();
  }
  CHECK(world.ask("GET", "/forwards/1").json["connections"] == 1);
  CHECK(world.ask("DELETE", "/forwards/1").status == 200);
  CHECK(world.ask("DELETE", "/forwards/1").status == 404);
  CHECK(world.ask("POST", "/forwards", {{"forward", "udp::40000-40001-:5"}}).json.size() == 2);
  CHECK(world.take_forward_events() ==
        std::vector<std::string>{"forward-added 1", "forward-ready 1", "forward-removed 1",
                                 "forward-added 2", "forward-added 3"});
}

TEST_CASE("what cannot be forwarded is refused with a reason") {
  World world;
  const auto refused = [&](json body, int status, const char* part) {
    CAPTURE(body.dump());
    const ControlReply reply = world.ask("POST", "/forwards", body);
    CHECK(reply.status == status);
    CHECK(reply.json["error"].get<std::string>().find(part) != std::string::npos);
  };
  refused({}, 400, "the body needs \"forward\"");
  refused({{"forward", 22}}, 400, "the body needs \"forward\"");
  refused({{"forward", "22"}}, 400, "cannot forward 22: ");
  refused({{"forward", "tcp::1-192.0.2.1:22"}}, 409, "not in 10.0.2.0/24");
  refused({{"forward", "tcp:192.0.2.1:80-:22"}}, 409, "choose an address this host has");
  for (const char* path :
       {"/forwards/0", "/forwards/x", "/forwards/-1", "/forwards/1 ", "/forwards/99999999999"}) {
    CAPTURE(path);
    CHECK(world.ask("DELETE", path).status == 404);
    CHECK(world.ask("GET", path).status == 404);
  }
  CHECK(world.bed.gateway.forwards().count() == 0);
}

TEST_CASE("a forward has the members that the description requires") {
  const json schema = api_description()["components"]["schemas"]["Forward"];
  World world;
  world.ask("POST", "/forwards", {{"forward", "tcp::0-:22"}});
  const json forward = world.ask("GET", "/forwards/1").json;
  check_members(forward, "Forward");
  const auto& answers = schema["properties"]["answer"]["enum"];
  for (size_t at = 0; at < answers.size(); ++at) {
    CHECK(answers[at] == forward_answer_name(static_cast<ForwardAnswer>(at)));
  }
}
