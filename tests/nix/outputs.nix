# The outputs of a flake, evaluated against the stand-in: `names` lists them, `facts.NAME` forces
# one and says what it is, `facts` all. tests/nix/evaluate asks for them.
#
# source: the flake's folder. root: the folder that stands for the store.
{ source, root }:
let
  inherit (builtins)
    attrNames
    concatMap
    deepSeq
    elem
    elemAt
    filter
    foldl'
    isFunction
    length
    listToAttrs
    ;

  standIn = import ./stand-in.nix { inherit root; };
  nixpkgs = standIn.flake;
  flake = import (source + "/flake.nix");
  self = outputs // {
    inherit outputs;
    inputs = { inherit nixpkgs; };
    outPath = source;
  };
  outputs = flake.outputs { inherit self nixpkgs; };

  require = condition: message: value: if condition then value else throw message;
  # Pairs of a condition and what it means that it does not hold; the first such one is said.
  claims =
    pairs: value:
    foldl' (rest: pair: require (elemAt pair 0) (elemAt pair 1) rest) value (reverse pairs);
  reverse = foldl' (rest: pair: [ pair ] ++ rest) [ ];
  perSystem = [
    "checks"
    "devShells"
    "formatter"
    "packages"
  ];

  # What a derivation came to, without the functions and packages in it.
  derivation =
    value:
    require (value.type or "" == "derivation") "this is not a derivation" (
      deepSeq (value.meta or null) {
        kind = "derivation";
        inherit (value) name;
        path = value.outPath;
      }
    );
  ours = outputs.packages.x86_64-linux.vde-compat.outPath;
  test =
    value:
    require (value.driver.vde2.outPath == ours) "this test runs on another switch than ours" (
      derivation value
      // {
        kind = "NixOS test";
        script = deepSeq value.nodes value.testScript;
      }
    );
  describe =
    value:
    if value ? testScript then
      test value
    else if value ? postBuild then
      derivation value
      // {
        kind = "join";
        inherit (value) postBuild;
        paths = map toString value.paths;
      }
    else if value ? packages then
      derivation value // { kind = "shell of ${toString (length value.packages)} packages"; }
    else
      derivation value;

  # --- overlays ---------------------------------------------------------------------------------
  new = plain: changed: filter (name: !(plain ? ${name})) (attrNames changed);
  driverAsTestsMakeIt = pkgs: pkgs.nixos-test-driver.override { enableOCR = true; };
  overlay =
    name: value:
    let
      plain = nixpkgs.legacyPackages.x86_64-linux;
      changed = plain.extend value;
      inputsOf = pkgs: map toString (pkgs.qemu.inputs ++ pkgs.qemu_test.inputs ++ [ pkgs.vde2 ]);
      darwin = value { } (standIn.variant "aarch64-darwin" [ ] [ ]);
      old = standIn.variant "x86_64-linux" [ "nixos-test-driver" ] [ value ];
    in
    claims
      [
        [
          (isFunction value && isFunction (value { }))
          "an overlay is a function of two arguments"
        ]
        [
          ((driverAsTestsMakeIt changed).vde2.outPath == ours)
          "the test driver does not get packages.vde-compat as its vde2"
        ]
        [
          (inputsOf changed == inputsOf plain)
          "QEMU would be rebuilt: its inputs, or vde2 itself, are changed"
        ]
        [
          (attrNames darwin == [ ])
          "packages of macOS are changed"
        ]
        [
          (!(builtins.tryEval (deepSeq (attrNames old) true)).success)
          "a nixpkgs that has no pkgs.nixos-test-driver is not refused"
        ]
      ]
      {
        kind = "overlay";
        name = "test driver: vde2 is ours; QEMU: unchanged; new: ${toString (new plain changed)}";
      };

  # --- the list ---------------------------------------------------------------------------------
  entry = name: value: { inherit name value; };
  systemsOf = kind: attrNames outputs.${kind};
  entriesOf =
    kind:
    if kind == "overlays" then
      map (name: entry "overlays.${name}" (overlay name outputs.overlays.${name})) (
        attrNames outputs.overlays
      )
    else if kind == "formatter" then
      map (system: entry "formatter.${system}" (describe outputs.formatter.${system})) (
        systemsOf kind
      )
    else
      require (elem kind perSystem) "tests/nix/outputs.nix does not know the output '${kind}'" (
        concatMap (
          system:
          let
            those = outputs.${kind}.${system};
          in
          map (name: entry "${kind}.${system}.${name}" (describe those.${name})) (attrNames those)
        ) (systemsOf kind)
      );
  entries = concatMap entriesOf (attrNames outputs);
in
{
  schema =
    require
      (
        attrNames flake == [
          "description"
          "inputs"
          "outputs"
        ]
      )
      "there are attributes other than description, inputs and outputs"
      (require (attrNames flake.inputs == [ "nixpkgs" ]) "nixpkgs is not the only input" true);
  names = map (entry: entry.name) entries;
  facts = listToAttrs entries;
}
