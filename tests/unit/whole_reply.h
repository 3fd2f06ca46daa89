#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "tools/control/router.h"

namespace tests {

// A reply as its client has it in the end: the pieces put together, as text and, if it is JSON, as
// JSON.
inline tools::ControlReply whole(tools::ControlReply reply) {
  if (!reply.pieces) return reply;
  std::string text;
  for (auto piece = reply.pieces(); !piece.empty(); piece = reply.pieces()) text += piece;
  if (std::string_view(reply.pieces_type) == "application/json") {
    reply.json = nlohmann::json::parse(text);
  }
  reply.text = std::move(text);
  return reply;
}

}  // namespace tests
