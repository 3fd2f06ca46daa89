# As much of nixpkgs as flake.nix uses, so that it evaluates without a network and builds nothing.
# It is strict where the real one is: a package, function, option or argument that is not here does
# not exist. Every name was looked up in nixpkgs (the attribute, its arguments, the option's type)
# before it was written down; look before you add one.
#
# root: the folder that stands for the store; no path is copied anywhere.
{ root }:
let
  inherit (builtins)
    attrNames
    concatStringsSep
    deepSeq
    elem
    filter
    foldl'
    functionArgs
    intersectAttrs
    isAttrs
    isFunction
    isInt
    isList
    isBool
    isString
    listToAttrs
    pathExists
    ;

  # Packages the flake may name, by the place of their definition.
  packageNames =
    # pkgs/by-name
    [
      "ccache"
      "cli11"
      "cmake"
      "doctest"
      "gbenchmark"
      "glib"
      "iproute2"
      "ldns"
      "libmicrohttpd"
      "libmnl"
      "libpcap"
      "libseccomp"
      "libslirp"
      "ninja"
      "nixfmt-tree"
      "nlohmann_json"
      "tcpdump"
      "vde2"
    ]
    # pkgs/top-level/all-packages.nix
    ++ [
      "clang-tools"
      "fmt"
      "iputils"
      "pkg-config"
      "python3"
      "wireshark-cli"
    ];

  # What a test module, and a node's configuration, may define; the leaf says what of.
  listOf = of: values: isList values && builtins.all of values;
  testOptions = [
    "globalTimeout"
    "name"
    "nodes"
    "testScript"
  ];
  nodeOptions = {
    networking.useDHCP = isBool;
    networking.vlans."*" = {
      id = isInt;
      interface = isString;
    };
    networking.interfaces."*".ipv4.addresses = listOf (
      address:
      attrNames address == [
        "address"
        "prefixLength"
      ]
      && isString address.address
      && isInt address.prefixLength
    );
    virtualisation.interfaces."*" = {
      vlan = isInt;
      assignIP = isBool;
    };
    virtualisation.qemu.networkingOptions = listOf isString;
  };

  require = condition: message: value: if condition then value else throw message;
  only =
    what: allowed: set:
    let
      strange = filter (name: !elem name allowed) (attrNames set);
    in
    require (strange == [ ]) "${what} has no '${concatStringsSep "', '" strange}'" set;

  lib = {
    genAttrs =
      names: f:
      listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    optionalAttrs = condition: set: if condition then set else { };
    throwIfNot = condition: message: if condition then (value: value) else throw message;
    mkForce = content: {
      _type = "override";
      priority = 50;
      inherit content;
    };
    licenses.bsd3.spdxId = "BSD-3-Clause";
    fileset = {
      unions =
        paths:
        map (path: require (pathExists path) "fileset.unions: no ${toString path}" path) paths;
      toSource =
        { root, fileset }:
        deepSeq fileset (require (pathExists root) "fileset.toSource: no ${toString root}" root);
    };
  };

  makeOverridable =
    f: arguments:
    f arguments // { override = changed: makeOverridable f (arguments // changed); };

  package =
    name: attributes:
    {
      type = "derivation";
      inherit name;
      outPath = "${root}/${name}";
    }
    // attributes;
  isPackage = value: isAttrs value && value.type or "" == "derivation";
  packages =
    what: list: require (builtins.all isPackage list) "${what}: not all of it are packages" list;

  shellPackages = packages "mkShell";

  # The store holds no files here: a source must come through lib.fileset.
  mkDerivation =
    arguments:
    let
      checked = only "mkDerivation" [
        "buildInputs"
        "cmakeFlags"
        "doInstallCheck"
        "installCheckPhase"
        "meta"
        "nativeBuildInputs"
        "pname"
        "src"
        "version"
      ] arguments;
      inputs =
        packages "nativeBuildInputs" checked.nativeBuildInputs
        ++ packages "buildInputs" checked.buildInputs;
      meta = only "meta" [
        "description"
        "license"
        "mainProgram"
        "platforms"
      ] checked.meta;
    in
    package "${checked.pname}-${checked.version}" (
      deepSeq [
        (map (input: input.outPath) inputs)
        checked.src
        checked.cmakeFlags
        checked.installCheckPhase
      ] checked
      // {
        inherit inputs meta;
      }
    );

  # --- tests ------------------------------------------------------------------------------------
  apply =
    module: offered:
    let
      value = if isFunction module then module else import module;
    in
    if isFunction value then value (intersectAttrs (functionArgs value) offered) else value;

  unforced =
    value: if isAttrs value && value._type or "" == "override" then value.content else value;
  checkOptions =
    where: options: value:
    if isFunction options then
      require (options (unforced value)) "${where}: this option is of another type" true
    else
      builtins.all (
        name:
        checkOptions "${where}.${name}" (
          options.${name} or options."*" or (throw "${where} has no option '${name}'")
        ) value.${name}
      ) (attrNames value);

  runNixOSTest =
    pkgs: module:
    let
      offered = {
        inherit lib pkgs;
        hostPkgs = pkgs;
        config = { };
      };
      # A set is a module as it stands; a function or a path is called.
      test = only "a NixOS test" testOptions (
        if isAttrs module then module else apply module offered
      );
      nodes = builtins.mapAttrs (
        name: node:
        let
          configuration = if isAttrs node then node else apply node (offered // { inherit name; });
        in
        require (checkOptions "nodes.${name}" nodeOptions configuration) "" configuration
      ) test.nodes;
      testScript = require (isString test.testScript) "testScript is not a string" test.testScript;
    in
    package "vm-test-run-${test.name}" {
      inherit nodes testScript;
      driver = pkgs.nixos-test-driver.override {
        qemu_pkg = pkgs.qemu_test;
        enableOCR = false;
        enableNspawn = false;
        extraPythonPackages = _: [ ];
      };
    };

  # --- package sets -----------------------------------------------------------------------------
  packagesFor =
    system: missing: overlays:
    let
      base =
        self:
        lib.genAttrs packageNames (name: package name { })
        // {
          inherit lib;
          stdenv = {
            inherit mkDerivation;
            hostPlatform = {
              inherit system;
              isLinux = builtins.match ".*-linux" system != null;
            };
          };
          mkShell =
            { inputsFrom, packages }@arguments:
            package "nix-shell" (
              deepSeq (map (one: one.outPath) (shellPackages (inputsFrom ++ packages))) arguments
            );
          symlinkJoin =
            { name, paths, postBuild, meta }@arguments:
            package name (deepSeq (map (path: path.outPath) paths) arguments);
          testers.runNixOSTest = runNixOSTest self;
          extend = overlay: packagesFor system missing (overlays ++ [ overlay ]);

          # QEMU links libvdeplug.
          qemu = package "qemu" { inputs = [ self.vde2 ]; };
          qemu_test = package "qemu-test" { inputs = [ self.vde2 ]; };
          # nixos/lib/test-driver/default.nix: those of its arguments that tests and overlays set.
          nixos-test-driver = makeOverridable (
            {
              vde2,
              qemu_pkg,
              enableNspawn,
              enableOCR,
              extraPythonPackages,
            }@arguments:
            package "nixos-test-driver" arguments
          ) {
            inherit (self) vde2;
            qemu_pkg = self.qemu_test;
            enableNspawn = false;
            enableOCR = false;
            extraPythonPackages = _: [ ];
          };
        };
      self = foldl' (
        previous: overlay: previous // overlay self previous
      ) (removeAttrs (base self) missing) overlays;
    in
    self;
in
{
  inherit lib;
  # The evaluator's own: a package set of any platform, with packages left out of it.
  variant = packagesFor;
  flake = {
    inherit lib;
    outPath = "${root}/nixpkgs";
    legacyPackages = lib.genAttrs [
      "aarch64-darwin"
      "aarch64-linux"
      "x86_64-darwin"
      "x86_64-linux"
    ] (system: packagesFor system [ ] [ ]);
  };
}
