//! What keepalived.conf calls things, for those who write its words here.

/// Keepalived's word, and what to write instead.
const WORDS: &[(&str, &str)] = &[
    ("advert_int", "`advert_interval`"),
    ("alpha", "`initial_state = \"down\"`, the default"),
    ("auth_hmac", "`authentication = { type = \"hmac-sha256\", key_id = 1, secret_file = \"FILE\" }`"),
    ("auth_pass", "`authentication = { type = \"pass\", secret_file = \"FILE\" }`"),
    ("connect_ip", "`address` in the check"),
    ("connect_port", "`port` in the check"),
    ("connect_timeout", "`timeout` in the check"),
    ("delay_loop", "`interval` in the check"),
    ("garp_master_delay", "`announce = { delay = \"5s\" }`"),
    ("garp_master_refresh", "`announce = { refresh = \"60s\" }`"),
    ("garp_master_repeat", "`announce = { repeat = 5 }`"),
    ("helo_name", "`helo` in the check"),
    ("inhibit_on_failure", "`on_down = \"keep\"`"),
    ("lb_algo", "`scheduler`"),
    ("lb_kind", "`forward`"),
    ("lvs_method", "`forward`"),
    ("lvs_sched", "`scheduler`"),
    ("misc_dynamic", "`dynamic_weight` in a check of type \"script\""),
    ("misc_path", "`command` in a check of type \"script\""),
    ("misc_timeout", "`timeout` in the check"),
    ("nopreempt", "`preempt = false`"),
    ("notify_backup", "`notify = { backup = [\"PROGRAM\"] }`"),
    ("notify_fault", "`notify = { fault = [\"PROGRAM\"] }`"),
    ("notify_master", "`notify = { master = [\"PROGRAM\"] }`"),
    ("notify_stop", "`notify = { stop = [\"PROGRAM\"] }`"),
    ("regex", "`body` in the check"),
    ("retry", "`fall`, which is keepalived's retry + 1, in the check"),
    ("status_code", "`status` in the check"),
    ("unicast_peer", "`unicast_peers`"),
    ("unicast_src_ip", "`source_address`"),
    ("uthreshold", "`max_connections`"),
    ("virtualhost", "`host` in the check"),
    ("vrrp_track_file", "`[[vrrp_file]]`"),
    ("vrrp_track_process", "`[[vrrp_process]]`"),
];

/// What to write instead of keepalived's word.
pub(super) fn translated(word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours)
}
