"""What can be wrong with a config or a command line, and what must then be said."""
import shutil

from places import Place, wrong


@wrong('config.py: 1 fault', "model.backbone.depht: CifarResNet takes no argument 'depht'; did you mean 'depth'")
def typo_in_a_key(place: Place) -> None:
    place.edit('depth=20', 'depht=20, depth=20')


@wrong('model.backbone.type', "'CifarResNte' is not a registered model; did you mean 'CifarResNet'")
def typo_in_a_type(place: Place) -> None:
    place.edit('CifarResNet', 'CifarResNte')


@wrong('optim_wraper: nothing reads this name', "'optim_wrapper'")
def typo_in_a_top_level_name(place: Place) -> None:
    place.edit('optim_wrapper', 'optim_wraper')


@wrong('4 faults', 'model.head.num_clases', 'train_dataloader.dataset.pipeline.1.type', 'optimizer.lr',
       'param_scheduler.gama')
def several_faults_at_once(place: Place) -> None:
    place.edit('num_classes=2', 'num_classes=2, num_clases=3')
    place.edit('RandomFlip', 'RandomFlop')
    place.edit('lr=0.01', "lr='0.01'")
    place.edit('gamma', 'gama')


@wrong('default_hooks.checkpoint.type', "'CheckpointHook'")
def unknown_hook(place: Place) -> None:
    place.edit('CheckpointHook', 'CheckPointsHook')


@wrong('val_evaluator.type', "'Accuracy'")
def unknown_metric(place: Place) -> None:
    place.edit("type='Accuracy'", "type='Acuracy'")


@wrong('config.py is not text in UTF-8')
def no_text(place: Place) -> None:
    place.config.write_bytes(b'\xff\xfe model')


@wrong('val_evaluator: missing', 'val_dataloader', 'go together')
def a_validation_without_a_metric(place: Place) -> None:
    place.edit('val_evaluator = dict(', 'other = dict(')
    place.edit('test_evaluator = val_evaluator', 'test_evaluator = other')


@wrong('train_dataloader: missing', 'add the dataset')
def nothing_to_train_on(place: Place) -> None:
    place.add('train_dataloader = train_cfg = optim_wrapper = None')


@wrong("model.backbone.depth='20'", 'must be one of 20, 32', 'did you mean 20?')
def a_value_of_the_wrong_kind(place: Place) -> None:
    place.edit('depth=20', "depth='20'")


@wrong('config.py, line', 'syntax error')
def syntax_error(place: Place) -> None:
    place.add('model = dict(type=')


@wrong('config.py, line 28: NameError', 'undefined_name')
def undefined_name(place: Place) -> None:
    place.add('randomness = dict(seed=undefined_name)')


@wrong('bse.py (a `_base_` of', 'does not exist', "'base.py'")
def missing_base(place: Place) -> None:
    shutil.copy(place.config, place.folder / 'base.py')
    place.config.write_text("_base_ = './bse.py'\n")


@wrong('circular `_base_`: config.py -> base.py -> config.py')
def circular_base(place: Place) -> None:
    (place.folder / 'base.py').write_text("_base_ = './config.py'\n")
    place.config.write_text("_base_ = './base.py'\n")


@wrong("'train_pipeline' is a variable of ./base.py", 'set train_dataloader.dataset.pipeline instead')
def a_variable_of_a_base_that_changes_nothing(place: Place) -> None:
    place.config.rename(place.folder / 'base.py')
    place.config.write_text("_base_ = './base.py'\ntrain_pipeline = [dict(type='PackInputs')]\n")


@wrong('config file confg.py does not exist', "'config.py'")
def missing_config(place: Place) -> list[str]:
    return ['train', 'confg.py']


@wrong('config.py: custom_imports', 'no_such_module', 'PYTHONPATH')
def a_custom_import_that_fails(place: Place) -> None:
    place.add("custom_imports = dict(imports=['no_such_module'])")


@wrong("the config has no key 'modle'", "'model'")
def typo_in_an_override(place: Place) -> list[str]:
    return ['--cfg-options', 'modle.backbone.depth=32']


@wrong("modle.backbone.depth: the config has no key 'modle'", "lr: the config has no key 'lr'", 'config.py: 2 faults:',
       "optim_wrapper.optimizer.type: 'SDG'", "model.head.num_clases: LinearClsHead takes no argument 'num_clases'")
def typos_in_overrides_beside_other_faults(place: Place) -> list[str]:
    place.edit("type='SGD'", "type='SDG'")
    return ['--cfg-options', 'modle.backbone.depth=32', 'lr=0.1', 'model.head.num_clases=2']


@wrong('train_dataloader.bach_size: unknown key', "'batch_size'")
def typo_inside_an_override(place: Place) -> list[str]:
    return ['--cfg-options', 'train_dataloader.bach_size=4']


@wrong('--cfg-options train_pipeline', 'would change nothing', 'train_dataloader.dataset.pipeline.1.prob')
def override_of_an_intermediate_variable(place: Place) -> list[str]:
    return ['--cfg-options', 'train_pipeline.1.prob=0.1']


@wrong('train_dataloader.dataset.pipeline has the indices 0 to 2', "'7'", '0 to 2')
def override_of_a_list_item_that_is_not_there(place: Place) -> list[str]:
    return ['--cfg-options', 'train_dataloader.dataset.pipeline.7.prob=0.1']


@wrong("'train_cfg.max_epochs'", 'key=value')
def override_without_a_value(place: Place) -> list[str]:
    return ['--cfg-options', 'train_cfg.max_epochs']


@wrong('randomness.seed', "'abc'", 'int | None')
def override_of_the_wrong_kind(place: Place) -> list[str]:
    return ['--cfg-options', 'randomness.seed=abc']


@wrong('--resume gone.pth: no such checkpoint')
def resume_from_a_missing_file(place: Place) -> list[str]:
    return ['--resume', 'gone.pth']


@wrong('good.pth', 'cannot be resumed from', 'load_from')
def resume_from_bare_weights(place: Place) -> list[str]:
    return ['--resume', 'good.pth']


@wrong('--launcher pytorch', 'RANK, WORLD_SIZE', 'dist_train.sh) or torchrun')
def a_launcher_without_its_environment(place: Place) -> list[str]:
    place.add("env_cfg = dict(dist_cfg=dict(backend='nccl'))")
    return ['--launcher', 'pytorch']


@wrong('--seed -1', 'must be from 0 to 4294967295')
def a_seed_below_zero(place: Place) -> list[str]:
    return ['--seed', '-1']


@wrong("work_dir='good.pth' cannot be written: Not a directory", 'give another --work-dir')
def a_file_for_a_work_dir(place: Place) -> list[str]:
    return ['--work-dir', 'good.pth']


@wrong('model.head.num_classes is 3, but the data has 2 classes (ant, bee); set model.head.num_classes=2')
def a_head_of_another_size_than_the_data(place: Place) -> None:
    place.edit('num_classes=2', 'num_classes=3')


@wrong('model.head.in_channels=512', '64 channels', 'set model.head.in_channels=64')
def a_head_that_does_not_fit_the_backbone(place: Place) -> None:
    place.edit('in_channels=64', 'in_channels=512')


@wrong('model.backbone.depth=21', 'must be one of 20, 32')
def a_depth_that_there_is_not(place: Place) -> None:
    place.edit('depth=20', 'depth=21')


@wrong('model.backbone: frozen_stages=7', 'CifarResNet has 3 stages')
def frozen_stages_out_of_range(place: Place) -> None:
    place.edit('depth=20', 'depth=20, frozen_stages=7')


@wrong('nothing to train', 'frozen')
def everything_frozen(place: Place) -> None:
    place.lenet()
    place.edit('in_channels=3', 'in_channels=3, frozen_stages=3')


@wrong('train_dataloader', '3x32x32', 'in_channels')
def pictures_of_another_number_of_channels(place: Place) -> None:
    place.lenet()
    place.edit('in_channels=3', 'in_channels=1')


@wrong('LeNet5 takes images of 32x32, got 40x40')
def pictures_of_another_size(place: Place) -> None:
    place.lenet()
    place.edit('scale=32', 'scale=40')


@wrong('train_dataloader: its first image', "give the model neck=dict(type='GlobalAveragePooling')")
def no_neck(place: Place) -> None:
    place.edit("neck=dict(type='GlobalAveragePooling')", 'neck=None')


@wrong("custom_keys['backbone.layr1']: matches no parameter", 'backbone.layer1')
def custom_keys_that_match_nothing(place: Place) -> None:
    place.edit('momentum=0.9)', "momentum=0.9), paramwise_cfg=dict(custom_keys={'backbone.layr1': dict(lr_mult=0.1)})")


@wrong("unknown key 'lr_mul'", "'lr_mult'")
def a_misspelt_factor(place: Place) -> None:
    place.edit('momentum=0.9)', "momentum=0.9), paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mul=0.1)})")


@wrong('optim_wrapper', 'Invalid learning rate: -0.01')
def a_negative_learning_rate(place: Place) -> None:
    place.edit('lr=0.01', 'lr=-0.01')


@wrong('param_scheduler', 'multiplicative factor')
def a_schedule_out_of_range(place: Place) -> None:
    place.edit("type='MultiStepLR', milestones=[1], gamma=0.1", "type='LinearLR', start_factor=2.")


@wrong("batch_policy='acumulate': must be one of 'accumulate'", "did you mean 'accumulate'?")
def unknown_batch_policy(place: Place) -> None:
    place.add("batch_policy = 'acumulate'")


@wrong('base_batch_size=5', 'no multiple of 2 images x 1 process = 2', 'set train_dataloader.batch_size to 1')
def a_total_batch_that_cannot_be_met(place: Place) -> None:
    place.edit('base_batch_size=2', 'base_batch_size=5')


@wrong('val_evaluator.topk=(1, 5): the data has only 2 classes')
def more_best_classes_than_there_are(place: Place) -> None:
    place.edit('topk=(1, )', 'topk=(1, 5)')


@wrong("CheckpointHook.save_best='acc'", 'the validation measures accuracy/top1, loss')
def a_best_checkpoint_by_a_metric_that_there_is_not(place: Place) -> None:
    place.edit("save_best='auto'", "save_best='acc'")


@wrong("EarlyStoppingHook.monitor='accuracy/top5'", 'the validation measures accuracy/top1, loss')
def a_stop_by_a_metric_that_there_is_not(place: Place) -> None:
    place.add("custom_hooks = [dict(type='EarlyStoppingHook', monitor='accuracy/top5')]")


@wrong('custom_hooks.0.momentun: ', "takes no argument 'momentun'; did you mean 'momentum'?")
def an_argument_that_a_hook_would_hand_on(place: Place) -> None:
    place.add("custom_hooks = [dict(type='EMAHook', momentun=0.1)]")


@wrong('before the first step: ', "module did not have attribute nope")
def weights_for_a_layer_that_there_is_not(place: Place) -> None:
    place.edit('depth=20',
               "depth=20, init_cfg=dict(type='Normal', layer='Conv2d', override=dict(type='Normal', name='nope'))")


@wrong('class_weight has 1 values', '2 classes')
def class_weights_for_other_classes(place: Place) -> None:
    place.edit("loss=dict(type='CrossEntropyLoss')", "loss=dict(type='CrossEntropyLoss', class_weight=[1.])")


@wrong('6 samples make no whole batch of 64', 'drop_last=False')
def a_batch_larger_than_the_data(place: Place) -> list[str]:
    return ['--cfg-options', 'train_dataloader.drop_last=True', 'train_dataloader.batch_size=64', 'auto_scale_lr=None']


@wrong('optim_wrapper.dtype', "'float7'", "'float16'")
def an_unknown_precision(place: Place) -> None:
    place.edit('optim_wrapper = dict(', "optim_wrapper = dict(type='AmpOptimWrapper', dtype='float7', ")


@wrong('normalised twice', 'data_preprocessor', 'remove one')
def normalised_twice(place: Place) -> None:
    place.edit("dict(type='PackInputs')",
               "dict(type='Normalize', mean=[1., 1., 1.], std=[1., 1., 1.]), dict(type='PackInputs')")


@wrong('data_preprocessor: mean=', 'std', 'one of each per channel')
def statistics_that_do_not_fit_each_other(place: Place) -> None:
    place.edit('std=[127.5, 127.5, 127.5]', 'std=[127.5]')


@wrong('3 channels', 'data_preprocessor.mean has 2 values')
def statistics_of_another_number_of_channels(place: Place) -> None:
    place.edit('mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]', 'mean=[1., 1.], std=[1., 1.]')
