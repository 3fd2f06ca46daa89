#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "netstack/flows/egress_book.h"

namespace tools {

// All that guests reached for, in three forms.
//
//   JSON   an object: "places", an array of EgressPlace (openapi/flows.json),
//   and "unlisted" table  the same for people, a line for each place rules  a
//   file for --allow @FILE: what would have sufficed for all that was reached
//   for. What
//          the policy denied stands in it as a remark, since somebody meant
//          that. A name that was only asked for becomes a rule for dns: alone.
//          Places that came to nothing for other reasons (refused, unreachable)
//          are in it too: a test may count on just that.
nlohmann::json egress_json(const netstack::EgressBook& book);
// One of its places.
nlohmann::json egress_place(const netstack::EgressBook::Key& key,
                            const netstack::EgressBook::Row& row);
std::string egress_table(const netstack::EgressBook& book);
std::string learned_rules(const netstack::EgressBook& book);

std::string_view protocol_word(netstack::Protocol protocol);  // "icmp", "udp", "tcp"

}  // namespace tools
