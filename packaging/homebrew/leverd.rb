# leverd's formula, for a tap. No release is published yet: homepage, url and sha256 below stand in for its own, and
# `brew audit` says so. Until then it is tried with a tarball of a checkout:
#
#   git archive --prefix=leverd-0.1.0/ -o /tmp/leverd-0.1.0.tar.gz HEAD
#   put url "file:///tmp/leverd-0.1.0.tar.gz" and its `shasum -a 256` here, the file into a tap, and
#   brew install --build-from-source TAP/leverd && brew test leverd && brew services start leverd
class Leverd < Formula
  desc "Keeps a PostgreSQL inside its service levels, one proven change at a time"
  homepage "https://example.com/leverd"
  url "https://example.com/leverd/leverd-0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    generate_completions_from_executable(bin/"leverd", "completions")
    system bin/"leverd", "man", buildpath/"man1"
    man1.install Dir[buildpath/"man1/*.1"]
    # What is edited stays as it is at an upgrade: brew keeps what stands in etc.
    inreplace "config/leverd.yaml", /^#root: \.\.$/, "root: #{var}/leverd"
    inreplace "config/leverd.yaml", %r{^#levers: config/levers\.yaml$}, "levers: #{etc}/leverd/levers.yaml"
    (etc/"leverd").install "config/leverd.yaml", "config/levers.yaml"
    pkgshare.install "config/scenarios", "monitoring"
  end

  def post_install
    (var/"leverd").mkpath
    (var/"log").mkpath
  end

  def caveats
    <<~EOS
      Name your PostgreSQL under `target:` in
        #{etc}/leverd/leverd.yaml
      then:
        leverd check --config #{etc}/leverd/leverd.yaml
        brew services start leverd
    EOS
  end

  service do
    run [opt_bin/"leverd", "run", "--no-tty", "--config", etc/"leverd/leverd.yaml"]
    # A failure starts it again; an end that somebody asked for does not.
    keep_alive successful_exit: false
    working_dir var/"leverd"
    # For `restart: {method: brew}` and pg_ctl.
    environment_variables PATH: std_service_path_env
    process_type :background
    log_path var/"log/leverd.log"
    error_log_path var/"log/leverd.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/leverd --version")
    # A configuration that names no PostgreSQL is refused with 64, and it is said what is missing.
    (testpath/"leverd.yaml").write "environment: production\n"
    assert_match "target", shell_output("#{bin}/leverd check --config leverd.yaml 2>&1", 64)
    # The exporter needs no server.
    port = free_port
    pid = spawn bin/"leverd", "exporter", "--no-postgres", "--listen", "127.0.0.1:#{port}"
    sleep 3
    assert_match "leverd_build_info", shell_output("curl -fsS http://127.0.0.1:#{port}/metrics")
  ensure
    Process.kill("TERM", pid) if pid
  end
end
