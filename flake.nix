{
  description = "Lanyard: a userspace network for virtual machines, without root";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});

      # The version has one home: project() in CMakeLists.txt.
      version = builtins.head (
        builtins.elemAt (builtins.split "project\\(lanyard VERSION ([0-9.]+)" (
          builtins.readFile ./CMakeLists.txt
        )) 1
      );

      # The programs under the names of VDE's.
      faces = [
        "vde_switch"
        "vde_plug2tap"
        "slirpvde"
      ];

      lanyard =
        pkgs:
        pkgs.stdenv.mkDerivation {
          pname = "lanyard";
          inherit version;

          # What the programs are made of, so that an edit of a test or a README rebuilds nothing.
          src = lib.fileset.toSource {
            root = ./.;
            fileset = lib.fileset.unions [
              ./CMakeLists.txt
              ./LICENSE
              ./driver
              ./netstack
              ./tools
              ./vlan
            ];
          };

          nativeBuildInputs = [
            pkgs.cmake
            pkgs.ninja
            pkgs.pkg-config
          ];
          buildInputs = [
            pkgs.cli11
            pkgs.fmt
            pkgs.glib # libslirp's pkg-config file names it
            pkgs.ldns
            pkgs.libmicrohttpd
            pkgs.libmnl
            pkgs.libpcap
            pkgs.libseccomp
            pkgs.libslirp
            pkgs.nlohmann_json
          ];

          # The system tests start virtual machines and make network namespaces; a build sandbox
          # allows neither. `tools/check` runs them.
          cmakeFlags = [
            "-DLANYARD_TESTS=OFF"
            "-DLANYARD_LTO=ON"
          ];

          doInstallCheck = true;
          installCheckPhase = ''
            $out/bin/lanyard --version | grep -F ${version}
            $out/bin/vde_switch --version | grep -F ${version}
            for face in ${toString faces}; do test -x $out/bin/$face; done
          '';

          meta = {
            description = "VDE-compatible switch and NAT gateway for VMs that explains itself";
            license = lib.licenses.bsd3;
            mainProgram = "lanyard";
            platforms = systems;
          };
        };

      # vde2 with our programs in the places of its own. Those we have no face for (vde_plug, dpipe,
      # vdeterm, wirefilter, …) stay vde2's, so whoever names this at run time loses none.
      vdeCompat =
        pkgs:
        pkgs.symlinkJoin {
          name = "lanyard-vde-compat-${version}";
          paths = [ pkgs.vde2 ];
          postBuild = ''
            for face in ${toString faces}; do
              test -x ${lanyard pkgs}/bin/$face
              ln -sf ${lanyard pkgs}/bin/$face $out/bin/$face
            done
          '';
          meta = {
            description = "VDE's programs, with those of Lanyard in their places";
            mainProgram = "vde_switch";
            platforms = systems;
          };
        };
    in
    {
      packages = forEach (pkgs: {
        default = lanyard pkgs;
        vde-compat = vdeCompat pkgs;
      });

      # NixOS tests on Lanyard. Since April 2026 (nixos-unstable, NixOS 26.05) the test driver is
      # the package pkgs.nixos-test-driver; tests take it from the package set they run in, and
      # call its `override` once more for QEMU and OCR. Its argument `vde2` is where vde_switch
      # and vde_plug2tap come from. Only that argument changes: pkgs.vde2 stays, because QEMU is
      # linked with its library and would be rebuilt; what is rebuilt is the driver, a few Python
      # files. A nixpkgs without that package would silently go on using vde2, so it is refused.
      overlays.default =
        final: prev:
        lib.optionalAttrs prev.stdenv.hostPlatform.isLinux (
          lib.throwIfNot (prev ? nixos-test-driver)
            "lanyard: this nixpkgs has no pkgs.nixos-test-driver; use nixos-unstable or NixOS 26.05"
            {
              lanyard = lanyard final;
              lanyard-vde-compat = vdeCompat final;
              nixos-test-driver = prev.nixos-test-driver.override {
                vde2 = final.lanyard-vde-compat;
              };
            }
        );

      checks = forEach (
        pkgs:
        let
          inherit ((pkgs.extend self.overlays.default).testers) runNixOSTest;
        in
        {
          package = lanyard pkgs;
          vde-compat = vdeCompat pkgs;
          # The Internet as a NixOS test has it (QEMU's user network), and through our gateway.
          internet = runNixOSTest (import ./tests/nix/internet.nix { ours = false; });
          gateway = runNixOSTest (import ./tests/nix/internet.nix { ours = true; });
          # 802.1Q tags between two nodes.
          vlan = runNixOSTest ./tests/nix/vlan.nix;
        }
      );

      devShells = forEach (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ (lanyard pkgs) ];
          packages = [
            pkgs.ccache
            pkgs.clang-tools
            pkgs.doctest
            pkgs.gbenchmark
            pkgs.iproute2
            pkgs.iputils
            pkgs.python3
            pkgs.qemu
            pkgs.tcpdump
            pkgs.vde2
            pkgs.wireshark-cli
          ];
        };
      });

      formatter = forEach (pkgs: pkgs.nixfmt-tree);
    };
}
