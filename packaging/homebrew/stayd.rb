# Installs from a checkout: brew install --HEAD ./packaging/homebrew/stayd.rb
class Stayd < Formula
  desc "Keeps a service answering, not merely running"
  license any_of: ["MIT", "Apache-2.0"]
  head "file://#{File.expand_path("../..", __dir__)}", using: :git, branch: "main"

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    man1.install "docs/man/stayd.1"
    man5.install "docs/man/stayd.toml.5"
  end

  def caveats
    <<~TEXT
      stayd renders its own plist, with the time limits of your configuration:
        stayd render launchd --user -c ~/stayd.toml
    TEXT
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/stayd --version") unless head?
  end
end
