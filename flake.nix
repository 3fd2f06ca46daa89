{
  description = "Lanyard: a userspace network for virtual machines, without root";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      forEach = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forEach (pkgs: {
        default = pkgs.stdenv.mkDerivation {
          pname = "lanyard";
          version = "0.1.0";
          src = self;

          nativeBuildInputs = with pkgs; [ cmake ninja pkg-config ];
          # glib: libslirp's pkg-config file names it.
          buildInputs = with pkgs; [ cli11 fmt glib libmnl libpcap libslirp nlohmann_json ];

          # The system tests start virtual machines and make network namespaces; a build sandbox
          # allows neither. `tools/check` runs them.
          cmakeFlags = [ "-DLANYARD_TESTS=OFF" "-DLANYARD_LTO=ON" ];

          meta = {
            description = "VDE-compatible switch and NAT gateway for virtual machines that explains itself";
            license = nixpkgs.lib.licenses.bsd3;
            mainProgram = "lanyard";
            platforms = systems;
          };
        };
      });

      devShells = forEach (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ self.packages.${pkgs.stdenv.hostPlatform.system}.default ];
          packages = with pkgs; [
            ccache
            clang-tools
            doctest
            gbenchmark
            iproute2
            iputils
            python3
            qemu
            tcpdump
            vde2
            wireshark-cli
          ];
        };
      });

      formatter = forEach (pkgs: pkgs.nixpkgs-fmt);
    };
}
