"""What every run shares: logging, checkpoints, the environment."""
# registries look names up in ftcls first, then in MMEngine
default_scope = 'ftcls'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # the last two checkpoints and the best one are kept
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='auto'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)

# `speed` is not set: channels-last and bfloat16 are used where they are faster and as exact; speed='off' forbids that
env_cfg = dict(
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # without a GPU, gloo is used instead
    dist_cfg=dict(backend='nccl'),
)

log_level = 'INFO'
# checkpoint with the weights that the whole model starts from
load_from = None
# True continues from the latest checkpoint of the work dir
resume = False
# with None, a new seed is drawn and written to the log
randomness = dict(seed=None, deterministic=False)
